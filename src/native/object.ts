import { KtraceError } from '../util/errors.ts';
import { checkBoolean, checkBytes, checkInteger, checkOneOf, checkRecord, checkText } from './check.ts';
import type { RawAddon, RawBpfObject } from './raw.ts';
import type { BpfObject, BpfObjectOptions } from './types.ts';

/** Kernel limit of `repeat` in a test run is far above; this keeps a slip of the pen from blocking the loop for minutes. */
const MAX_REPEAT = 100_000_000;

const rawObjects = new WeakMap<BpfObject, RawBpfObject>();

/**
 * Opens and loads a BPF object; see {@link BpfObject}.
 * @throws KTRACE_E_BTF when the kernel has no type information, KTRACE_E_LAYOUT, KTRACE_E_ARGUMENT, or what the addon gives
 */
export function openObject(addon: RawAddon, path: string, options: BpfObjectOptions = {}): BpfObject {
  checkText('path', path);
  const { config = {}, expect = {}, mapSizes = {}, preallocated = {}, without = [], only = [], targets = {} } = options;
  const { moduleBtf, shareMapsOf } = options;
  checkRecord('config', config, checkBytes);
  checkRecord('expect', expect, checkBytes);
  checkRecord('mapSizes', mapSizes, (name, value) => checkInteger(name, value, 1));
  checkRecord('preallocated', preallocated, checkBoolean);
  for (const program of without) checkText('without', program);
  for (const program of only) checkText('only', program);
  checkRecord('targets', targets, checkText);
  if (moduleBtf !== undefined && !/^\w+$/.test(moduleBtf)) checkOneOf('moduleBtf', moduleBtf, ['the name of a kernel module']);
  if (!addon.btf.available()) {
    throw new KtraceError('KTRACE_E_BTF', `The kernel has no type information (BTF) at ${btfPath()}`, {
      hint: 'Run a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution has one), or name a BTF file of this kernel in KTRACE_BTF.',
    });
  }
  try {
    const shared = shareMapsOf === undefined ? undefined : rawObject(shareMapsOf);
    return wrap(new addon.BpfObject(path, { config, expect, mapSizes, preallocated, without, only, targets, moduleBtf }, shared));
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'KTRACE_E_LAYOUT') throw error;
    throw new KtraceError('KTRACE_E_LAYOUT', `${path}: ${error.message}`, {
      hint: 'Build the BPF objects and the agent from the same version: run `npm run setup`.',
      cause: error,
    });
  }
}

/** The addon's object behind one that {@link openObject} gave. */
export function rawObject(object: BpfObject): RawBpfObject {
  const raw = rawObjects.get(object);
  if (raw === undefined) throw new TypeError('Expected an object that openObject gave');
  return raw;
}

function btfPath(): string {
  return process.env['KTRACE_BTF'] || '/sys/kernel/btf/vmlinux';
}

function wrap(raw: RawBpfObject): BpfObject {
  const object: BpfObject = {
    mapUpdate(map, key, value, flags = 0) {
      const { keyBytes, valueBytes } = info(raw, map);
      checkBytes(`key of map ${map}`, key, keyBytes);
      checkBytes(`value of map ${map}`, value, valueBytes);
      checkInteger('flags', flags);
      raw.mapUpdate(map, key, value, flags);
    },
    mapLookup(map, key) {
      checkBytes(`key of map ${map}`, key, info(raw, map).keyBytes);
      return raw.mapLookup(map, key);
    },
    mapDelete(map, key) {
      checkBytes(`key of map ${map}`, key, info(raw, map).keyBytes);
      return raw.mapDelete(map, key);
    },
    mapTake(map, keys) {
      checkBytes(`keys of map ${map}`, keys);
      const { keyBytes } = info(raw, map);
      if (keys.length % keyBytes !== 0) checkBytes(`keys of map ${map}`, keys, Math.ceil(keys.length / keyBytes) * keyBytes);
      return raw.mapTake(map, keys);
    },
    mapEntries(map, max = 0xffff_ffff) {
      checkText('map', map);
      checkInteger('max', max);
      return raw.mapEntries(map, max);
    },
    mapInfo: (map) => info(raw, map),
    mapSetProgram(map, index, program) {
      checkText('map', map);
      checkInteger('index', index);
      checkText('program', program);
      raw.mapSetProgram(map, index, program);
    },
    mapSetCode(map, index, code, maps) {
      checkText('map', map);
      checkInteger('index', index);
      checkBytes('code', code);
      for (const name of maps) checkText('maps', name);
      raw.mapSetCode(map, index, code, maps);
    },
    setGlobal(name, value) {
      checkText('name', name);
      checkBytes(`variable ${name}`, value);
      raw.setGlobal(name, value);
    },
    getGlobal(name) {
      checkText('name', name);
      return raw.getGlobal(name);
    },
    attachTc(program, ifindex, direction, how) {
      checkText('program', program);
      checkInteger('ifindex', ifindex, 1, 0x7fff_ffff);
      checkOneOf('direction', direction, ['in', 'out']);
      checkOneOf('how', how, ['tcx', 'clsact']);
      return raw.attachTc(program, ifindex, direction, how);
    },
    attachTracing(program) {
      checkText('program', program);
      return raw.attachTracing(program);
    },
    attachKprobe(program, kernelFunction) {
      checkText('program', program);
      checkText('kernelFunction', kernelFunction);
      return raw.attachKprobe(program, kernelFunction);
    },
    detach(handle) {
      checkInteger('handle', handle, 1);
      raw.detach(handle);
    },
    isAttached(handle) {
      checkInteger('handle', handle, 1);
      return raw.isAttached(handle);
    },
    testRun(program, data, ifindex = 0, repeat = 1) {
      checkText('program', program);
      checkBytes('data', data);
      checkInteger('ifindex', ifindex, 0, 0x7fff_ffff);
      checkInteger('repeat', repeat, 1, MAX_REPEAT);
      return raw.testRun(program, data, ifindex, repeat);
    },
    programInfo(program) {
      checkText('program', program);
      return raw.programInfo(program);
    },
    programs: () => raw.programs(),
    close: () => raw.close(),
  };
  rawObjects.set(object, raw);
  return object;
}

function info(raw: RawBpfObject, map: string): ReturnType<BpfObject['mapInfo']> {
  checkText('map', map);
  return raw.mapInfo(map);
}
