/** A peer in another process that reads one JSON case a line and writes one JSON answer a line. */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * @param {string} program an interpreter
 * @param {string} script a file of this folder
 * @param {string[]} args for the script
 */
export function startPeer(program, script, args = []) {
  const child = spawn(program, [fileURLToPath(new URL(script, import.meta.url)), ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const failed = new Promise((_, reject) => child.on('error', reject));
  failed.catch(() => {});
  child.stdin.on('error', () => {}); // it ended early: the answer says so
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async ask(what) {
      child.stdin.write(`${JSON.stringify(what)}\n`);
      const { value, done } = await Promise.race([answers.next(), failed]);
      if (done) throw new Error(`${script} ended early (its message is above)`);
      return JSON.parse(value);
    },
    end: () => child.stdin.end(),
  };
}
