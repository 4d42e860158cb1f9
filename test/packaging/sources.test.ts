// CMakeLists.txt is the source of truth; binding.gyp must build the same addon.
import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { cmakeLists, expand, readGyp, readText, root } from './build-lists.js';

const sources = cmakeLists('cmake/sources.cmake');
const isa = cmakeLists('cmake/isa.cmake');
const gyp = readGyp();
const x64 = gyp.conditions.find(([condition]) => condition === "target_arch == 'x64'")?.[1].targets ?? [];
const kernelTargets = [...gyp.targets, ...x64].filter((target) => target.type === 'static_library');
const addon = gyp.targets.find((target) => target.target_name === 'tautgrad');
const addonOnX64 = addon?.conditions?.find(([condition]) => condition === "target_arch == 'x64'")?.[1];

describe('binding.gyp builds what CMakeLists.txt builds', () => {
  test.each([
    ['common_sources', 'TG_COMMON_SOURCES'],
    ['isa_sources', 'TG_ISA_SOURCES'],
    ['addon_sources', 'TG_ADDON_SOURCES'],
  ])('%s equals %s', (gypName, cmakeName) => {
    const expected = sources.get(cmakeName) ?? [];
    expect(expected.length).toBeGreaterThan(0);
    expect(gyp.variables[gypName]).toEqual(expected);
  });

  test('every listed source exists, and every source of the backends and the addon is listed', () => {
    const listed = [...sources.values()].flat();
    expect(listed.filter((path) => !existsSync(new URL(path, root)))).toEqual([]);
    const present = ['native/cpu', 'native/cuda', 'native/addon'].flatMap((folder) =>
      readdirSync(new URL(folder, root))
        .filter((file) => /\.(cpp|cu)$/.test(file))
        .map((file) => `${folder}/${file}`),
    );
    expect(listed.toSorted()).toEqual(present.toSorted());
  });

  test('the instruction sets are the same', () => {
    const expected = (isa.get('TG_INSTRUCTION_SETS') ?? []).map((name) => `tautgrad_cpu_${name}`);
    expect(expected).toContain('tautgrad_cpu_baseline');
    expect(kernelTargets.map((target) => target.target_name)).toEqual(expected);
    expect([...(addon?.dependencies ?? []), ...(addonOnX64?.dependencies ?? [])]).toEqual(expected);
  });

  test.each(kernelTargets.map((target) => [target.target_name, target] as const))('%s: same sources, name and flags', (name, target) => {
    const set = name.replace('tautgrad_cpu_', '');
    const variables = { ...gyp.variables, ...target.variables };
    expect(expand(target.sources, variables)).toEqual(sources.get('TG_ISA_SOURCES'));
    expect(target.defines).toEqual([`TG_ISA=${set}`]);
    expect(expand(target.cflags, variables)).toEqual([...(isa.get('TG_FLAGS_kernels') ?? []), ...(isa.get(`TG_FLAGS_${set}`) ?? [])]);
    // The table in backend.cpp offers the set only when it is told that the set was built.
    expect([...(addon?.defines ?? []), ...(addonOnX64?.defines ?? [])]).toContain(`TG_HAVE_${set.toUpperCase()}=1`);
  });

  test('the addon is compiled with the same Node-API definitions and links the same way', () => {
    const cmake = readText('CMakeLists.txt');
    const definitions = /target_compile_definitions\(tautgrad PRIVATE ([^)]*)\)/.exec(cmake)?.[1]?.split(/\s+/) ?? [];
    expect(definitions).toContain('NAPI_VERSION=8');
    expect(addon?.defines.filter((define) => !define.startsWith('TG_HAVE_'))).toEqual(definitions);
    const link = /target_link_options\(tautgrad PRIVATE (-static[^)]*)\)/.exec(cmake)?.[1]?.split(/\s+/) ?? [];
    expect(link).toContain('-static-libstdc++');
    for (const option of link) expect(readText('binding.gyp')).toContain(`"${option}"`);
  });

  test('the warnings are the same', () => {
    const options = /set\(TG_WARNINGS ([^)]*)\)/.exec(readText('CMakeLists.txt'))?.[1]?.split(/\s+/) ?? [];
    expect(gyp.target_defaults.cflags.filter((flag) => flag.startsWith('-W'))).toEqual(options);
  });
});
