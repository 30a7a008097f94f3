import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { KtraceError, messageOf } from '../util/errors.ts';
import { checkFunction, checkInteger, checkShare, checkText } from './check.ts';
import { openObject, rawObject } from './object.ts';
import type { RawAddon } from './raw.ts';
import type { NativeModule } from './types.ts';

const DEFAULT_BATCH_BYTES = 1 << 20;
const MAX_BATCH_BYTES = 1 << 30;

let loaded: NativeModule | undefined;

/**
 * The addon, loaded at the first call: from the file KTRACE_ADDON names, else from native/build/Release beside the sources or the
 * compiled code.
 * @throws KTRACE_E_ADDON with every attempt and what can be done
 */
export function loadNative(): NativeModule {
  loaded ??= wrapAddon(requireFirst(candidates()));
  return loaded;
}

/** Loads the first of these files that can be loaded. */
export function requireFirst(paths: string[]): RawAddon {
  const attempts: { path: string; message: string }[] = [];
  const require = createRequire(import.meta.url);
  for (const path of paths) {
    try {
      return require(path) as RawAddon;
    } catch (error) {
      attempts.push({ path, message: messageOf(error).split('\n', 1)[0] ?? '' });
    }
  }
  const tried = attempts.map(({ path, message }) => `  ${path}: ${message}`).join('\n');
  throw new KtraceError('KTRACE_E_ADDON', `The native addon could not be loaded. Tried:\n${tried}`, {
    hint: [...new Set(attempts.map(({ message }) => remedy(message, process.platform)))].join(' '),
  });
}

/** What helps against this failure, in a sentence. */
export function remedy(message: string, platform: string): string {
  if (platform !== 'linux') return `Agents run on Linux only, this is ${platform}; the client needs no addon.`;
  if (/NODE_MODULE_VERSION|wrong ELF class|napi_|undefined symbol/.test(message)) {
    return `It was built for another Node or machine than ${process.version} on ${process.arch}: remove native/build and run \`npm run setup\`.`;
  }
  if (/libbpf\.so/.test(message)) return 'Install libbpf 1.x: `apt-get install libbpf1`.';
  if (/Cannot find module|no such file|cannot open shared object/i.test(message)) return 'Build it: `npm run setup`.';
  if (/permission denied|not permitted/i.test(message)) return 'Give this user the right to read and execute the file.';
  return 'Build it anew: remove native/build and run `npm run setup`.';
}

function candidates(): string[] {
  const given = process.env['KTRACE_ADDON'];
  if (given) return [given];
  // src/native/ and dist/native/ are equally deep.
  return [fileURLToPath(new URL('../../native/build/Release/ktrace_native.node', import.meta.url))];
}

function wrapAddon(raw: RawAddon): NativeModule {
  const addon = { ...raw, btf: keptForTheMoment(raw.btf) };
  return {
    openObject: (path, options) => openObject(addon, path, options),
    readRing(object, map, { intervalMs, batchBytes = DEFAULT_BATCH_BYTES, mostBusy = 1, unref = false, restsIn }, onRecords) {
      checkText('map', map);
      checkInteger('intervalMs', intervalMs, 1);
      checkInteger('batchBytes', batchBytes, 1, MAX_BATCH_BYTES);
      checkShare('mostBusy', mostBusy);
      if (restsIn !== undefined) checkText('restsIn', restsIn);
      checkFunction('onRecords', onRecords);
      return new addon.RingReader(rawObject(object), map, intervalMs, batchBytes, mostBusy, unref, restsIn ?? '', onRecords);
    },
    watchLinks(onChange) {
      checkFunction('onChange', onChange);
      return new addon.LinkWatcher(onChange);
    },
    addresses(netnsId) {
      if (netnsId !== undefined) checkInteger('netnsId', netnsId, 0, 0x7fff_ffff);
      return addon.addresses(netnsId ?? -1);
    },
    defaultRouteInterfaces: () => addon.defaultRouteInterfaces(),
    realtimeOffsetNs: () => addon.realtimeOffsetNs(),
    trimMemory: () => addon.trimMemory(),
    btf: wrapBtf(addon.btf),
    tcxSupported: () => addon.tcxSupported(),
    tryFentry: () => {
      addon.btf.available();
      addon.tryFentry();
    },
    tryKprobe: () => addon.tryKprobe(),
    removeStaleFilters(prefix) {
      checkText('prefix', prefix);
      return addon.removeStaleFilters(prefix);
    },
    guardFile(path, mark, value) {
      checkText('path', path);
      checkText('mark', mark);
      checkText('value', value);
      return new addon.FileGuard(path, mark, value);
    },
    enableStats: () => new addon.StatsHandle(),
  };
}

/**
 * The kernel's types are read at the first question (20 ms) and kept for those that are asked with it, until the event loop goes on: they take 6 MB, and
 * after an agent has started nobody asks for hours.
 */
function keptForTheMoment(btf: RawAddon['btf']): RawAddon['btf'] {
  let isDue = false;
  const kept = <A extends unknown[], R>(ask: (...args: A) => R) => {
    return (...args: A): R => {
      if (!isDue) {
        isDue = true;
        setImmediate(() => {
          isDue = false;
          btf.release();
        });
      }
      return ask(...args);
    };
  };
  return {
    available: kept(btf.available),
    enumValues: kept(btf.enumValues),
    hasStruct: kept(btf.hasStruct),
    hasMember: kept(btf.hasMember),
    tracepointArguments: kept(btf.tracepointArguments),
    functionParameters: kept(btf.functionParameters),
    release: btf.release,
  };
}

function wrapBtf(btf: NativeModule['btf']): NativeModule['btf'] {
  return {
    available: () => btf.available(),
    enumValues(name) {
      checkText('name', name);
      return btf.enumValues(name);
    },
    hasStruct(name) {
      checkText('name', name);
      return btf.hasStruct(name);
    },
    hasMember(struct, member) {
      checkText('struct', struct);
      checkText('member', member);
      return btf.hasMember(struct, member);
    },
    functionParameters(names) {
      for (const name of names) checkText('names', name);
      return btf.functionParameters(names);
    },
    tracepointArguments(name) {
      checkText('name', name);
      return btf.tracepointArguments(name);
    },
  };
}
