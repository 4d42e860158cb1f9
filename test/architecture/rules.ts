import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser';

/** From the ground up: a folder imports from its own layer and the layers before it. */
export const layers: readonly (readonly string[])[] = [
  ['backend'],
  ['tensor'],
  ['autodiff'],
  ['ops'],
  ['tv', 'inverse', 'linalg'],
  ['train', 'nn', 'optim', 'data', 'metrics'],
  ['models'],
  ['cli', 'report'],
];

const inside = (folders: readonly string[]): string => `^src/(${folders.join('|')})(/|\\.ts$)`;

function upwardRules(): IForbiddenRuleType[] {
  return layers.slice(0, -1).map((folders, height) => ({
    name: `no-upward-import-from-${folders.join('-')}`,
    severity: 'error',
    from: { path: inside(folders) },
    to: { path: inside(layers.slice(height + 1).flat()) },
  }));
}

const rules: IForbiddenRuleType[] = [
  ...upwardRules(),
  {
    name: 'every-folder-has-a-layer',
    severity: 'error',
    from: { path: '^src/', pathNot: [inside(layers.flat()), '^src/index\\.ts$'] },
    to: {},
  },
  { name: 'nothing-imports-the-root', severity: 'error', from: { path: '^src/' }, to: { path: '^src/index\\.ts$' } },
  {
    name: 'only-the-backend-loads-the-addon',
    severity: 'error',
    from: { pathNot: '^src/backend/' },
    to: { path: 'node-gyp-build|\\.node$' },
  },
  {
    name: 'the-backend-through-its-index',
    severity: 'error',
    from: { path: '^src/', pathNot: '^src/backend/' },
    to: { path: '^src/backend/', pathNot: '^src/backend/index\\.ts$' },
  },
  { name: 'no-cycle', severity: 'error', from: {}, to: { circular: true } },
  { name: 'no-unresolved-import', severity: 'error', from: {}, to: { couldNotResolve: true } },
];

export interface Violation {
  rule: string;
  from: string;
  to: string;
}

/** Type-only imports count too: a type knows its home as much as a value does. */
export async function violations(baseDir: string): Promise<{ modules: string[]; found: Violation[] }> {
  const { output } = await cruise(['src'], {
    baseDir,
    ruleSet: { forbidden: rules },
    validate: true,
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: {
      extensions: ['.ts', '.js', '.json'],
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'types'],
    },
  });
  const result = output as ICruiseResult;
  return {
    modules: result.modules.map((module) => module.source),
    found: result.summary.violations.map(({ rule, from, to }) => ({ rule: rule.name, from, to })),
  };
}
