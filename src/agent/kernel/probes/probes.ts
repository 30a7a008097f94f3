import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { HookReport } from '../../../event/node-report.ts';
import type { BpfObject, NativeModule } from '../../../native/types.ts';
import { isOutOfMemory, messageOf } from '../../../util/errors.ts';
import { listModules, type ModuleList } from './kernel-modules.ts';
import { type ProbeBackend, type RefusedBackends, refusedBackends } from './probe-backends.ts';
import { listFunctions, PROBES, type Probe, resolveProbes, symbolsOf } from './probe-plan.ts';

export interface ProbesOptions {
  native: NativeModule;
  objectPath: string;
  /** The tracer's: its maps and variables are the probes' too. */
  shareMapsOf: BpfObject;
  /** The same values that the tracer's object was loaded with. */
  config: Record<string, Uint8Array>;
  /** `auto`: what the kernel allows. */
  backend: 'auto' | ProbeBackend | 'none';
  /** Where the kernel lists its functions, and its modules. */
  kallsyms?: string;
  modules?: string;
  /** Milliseconds of a clock that is never stepped. */
  nowMs?: () => number;
}

/** To load them takes some tenths of a second of the thread that reads packets. */
const MEMORY_PAUSE_MS = 30_000;

interface State {
  probe: Probe;
  /** Why it is not loaded, or why not by the other backend. */
  reason: string | undefined;
  /** It is not there because what it does never happens here. */
  isExpected: boolean;
  loaded: Loaded | undefined;
  handle: number | undefined;
  /** Why it could not be attached when that was tried last. */
  refusal: string | undefined;
  /** Refused by the kernel: loading it again would end the same way. */
  isFinal: boolean;
}

/** How a probe is to be loaded. */
interface Plan {
  backend: ProbeBackend;
  positions: Uint8Array;
  /** The module that has the function, and as what it was listed then. */
  module: { name: string; listed: string | undefined } | undefined;
}

interface Loaded extends Plan {
  object: BpfObject;
}

/**
 * The programs on the kernel's own functions. Each is resolved, loaded and attached for itself: what this kernel does not have, or refuses, costs
 * that probe's facts and is reported with its reason. Modules that come and go later are picked up by {@link refresh}.
 */
export class Probes {
  readonly #options: Required<ProbesOptions>;
  readonly #states: State[];
  /** Why there is no such backend at all. */
  readonly #refused: RefusedBackends;
  readonly #objects = new Set<BpfObject>();
  /** Counted by programs of objects that are closed. */
  #missesBefore = 0;
  #isActive = false;
  #modules: ModuleList;
  /** The kernel had no memory for some of them: they are tried again from then on. */
  #againAtMs = Number.POSITIVE_INFINITY;

  constructor(options: ProbesOptions) {
    this.#options = { kallsyms: '/proc/kallsyms', modules: '/proc/modules', nowMs: () => performance.now(), ...options };
    this.#states = PROBES.map((probe) => ({
      probe,
      reason: undefined,
      isExpected: false,
      loaded: undefined,
      handle: undefined,
      refusal: undefined,
      isFinal: false,
    }));
    this.#refused = refusedBackends(options.native, options.backend);
    this.#modules = listModules(readOrEmpty(this.#options.modules));
    this.#load();
  }

  hooks(): HookReport[] {
    return this.#states.map((state) => {
      const { probe, loaded, handle, refusal } = state;
      const reason = refusal ?? state.reason;
      return {
        name: probe.name,
        ...(loaded === undefined || refusal !== undefined
          ? { backend: 'none', state: 'unavailable' }
          : { backend: loaded.backend, state: handle === undefined ? 'idle' : 'on' }),
        ...(reason === undefined ? {} : { reason }),
      };
    });
  }

  /** What this kernel does not allow to trace, in one text; undefined when nothing is missing. */
  lacking(): string | undefined {
    const missing = this.#states.filter(
      ({ loaded, refusal, isExpected }) => (loaded === undefined && !isExpected) || refusal !== undefined,
    );
    if (missing.length === 0) return undefined;
    const reasons = [...new Set(missing.map(({ refusal, reason = '' }) => (refusal ?? reason).split('\n', 1)[0] ?? ''))].join(
      '; ',
    );
    const which =
      missing.length === this.#states.length
        ? "the kernel's own functions are"
        : `${missing.map(({ probe }) => probe.name).join(', ')} ${missing.length === 1 ? 'is' : 'are'}`;
    return `${which} not seen, only interfaces and conntrack's entries: ${reasons} (ktrace doctor says what that costs)`;
  }

  /** The loaded programs with what the kernel counts of them. */
  programs(): { object: BpfObject; program: string }[] {
    return [...this.#objects].flatMap((object) => object.programs().map((program) => ({ object, program })));
  }

  /** Runs that the kernel has refused since the start. */
  recursionMisses(): number {
    return [...this.#objects].reduce((sum, object) => sum + missesOf(object), this.#missesBefore);
  }

  setActive(isActive: boolean): void {
    this.#isActive = isActive;
    for (const state of this.#states) {
      if (isActive) this.#attach(state);
      else this.#detach(state);
    }
  }

  /**
   * Modules may have come, or gone: what was missing is looked for again, and what was attached to a module that is gone, or that was loaded again, is
   * forgotten. What there was no memory for is tried again after a pause. Cheap when there is no such change. True when hooks have changed.
   */
  refresh(): boolean {
    const modules = listModules(readOrEmpty(this.#options.modules));
    if (isDeepStrictEqual(modules, this.#modules) && this.#options.nowMs() < this.#againAtMs) return false;
    this.#modules = modules;
    const before = JSON.stringify(this.hooks());
    for (const state of this.#states) {
      const module = state.loaded?.module;
      if (module !== undefined && modules.get(module.name) !== module.listed) this.#forget(state);
    }
    this.#load();
    if (this.#isActive) for (const state of this.#states) this.#attach(state);
    return JSON.stringify(this.hooks()) !== before;
  }

  close(): void {
    this.setActive(false);
    for (const object of this.#objects) object.close();
    this.#objects.clear();
  }

  /** Its function is gone. */
  #forget(state: State): void {
    const { loaded, handle } = state;
    Object.assign(state, { loaded: undefined, handle: undefined, refusal: undefined, reason: undefined });
    if (loaded === undefined) return;
    try {
      if (handle !== undefined) loaded.object.detach(handle);
    } catch {
      // What was attached went with the function, and the handle is freed all the same.
    }
    this.#unloadIfUnused(loaded.object);
  }

  #unloadIfUnused(object: BpfObject): void {
    if (this.#states.some(({ loaded }) => loaded?.object === object)) return;
    this.#missesBefore += missesOf(object);
    this.#objects.delete(object);
    object.close();
  }

  /** Resolves and loads what is not loaded yet, in one go; a program that is refused is tried by the other backend, then left out. */
  #load(): void {
    this.#againAtMs = Number.POSITIVE_INFINITY;
    const open = this.#states.filter(({ loaded, isFinal }) => loaded === undefined && !isFinal);
    if (open.length === 0) return;
    const wanted = new Map<State, Plan>();
    const first = this.#refused.fentry === undefined ? 'fentry' : this.#refused.kprobe === undefined ? 'kprobe' : undefined;
    if (first === undefined) {
      for (const state of open) {
        state.reason = `${this.#refused.fentry}; ${this.#refused.kprobe}`;
        state.isFinal = true;
      }
      return;
    }
    const probes = open.map(({ probe }) => probe);
    const functions = this.#listFunctions(probes);
    const { btf } = this.#options.native;
    const isLoaded = (module: string) => this.#modules.get(module)?.startsWith('Live ') === true;
    const resolutions = resolveProbes(probes, functions, { btf, isLoaded });
    for (const state of open) {
      const resolution = resolutions.get(state.probe);
      state.reason = undefined;
      state.isExpected = false;
      if (resolution === undefined) continue;
      if ('reason' in resolution) {
        Object.assign(state, resolution);
        continue;
      }
      const { positions, module: name } = resolution;
      const module = name === undefined ? undefined : { name, listed: this.#modules.get(name) };
      wanted.set(state, { backend: first, positions, module });
    }
    while (wanted.size > 0) {
      const refused = this.#open(wanted);
      if (refused === undefined) return;
      const { state, reason } = refused;
      if (refused.isForMemory) {
        for (const each of wanted.keys()) each.reason = reason;
        this.#againAtMs = this.#options.nowMs() + MEMORY_PAUSE_MS;
        return;
      }
      const plan = wanted.get(state);
      state.reason = reason;
      if (plan?.backend === 'fentry' && this.#refused.kprobe === undefined) {
        wanted.set(state, { ...plan, backend: 'kprobe' });
      } else {
        if (plan?.backend === 'fentry') state.reason = `${reason}\n${this.#refused.kprobe}`;
        wanted.delete(state);
        state.isFinal = true;
      }
    }
  }

  /** Loads all of these; gives the one that was refused, after which nothing is loaded. */
  #open(wanted: ReadonlyMap<State, Plan>): { state: State; reason: string; isForMemory: boolean } | undefined {
    const { native, objectPath, shareMapsOf, config } = this.#options;
    const targets: Record<string, string> = {};
    const positions: Record<string, Uint8Array> = {};
    const programs = new Map<string, State>();
    for (const [state, { backend, positions: at }] of wanted) {
      const name = state.probe.name.replaceAll('-', '_');
      programs.set(`${backend}_${name}`, state);
      positions[`cfg_at_${name}`] = at;
      if (backend === 'fentry') targets[`fentry_${name}`] = state.probe.function;
    }
    try {
      const object = native.openObject(objectPath, {
        config: { ...config, ...positions },
        only: [...programs.keys()],
        targets,
        shareMapsOf,
        moduleBtf: 'nf_conntrack',
      });
      this.#objects.add(object);
      for (const [state, plan] of wanted) {
        state.loaded = { ...plan, object };
        if (plan.backend === 'kprobe') state.reason ??= this.#refused.fentry;
      }
      return undefined;
    } catch (error) {
      const { op = '', log = '' } = error as { op?: string; log?: string };
      const name = /^load program (\w+)/.exec(op)?.[1] ?? '';
      const state = programs.get(name) ?? [...programs.values()][0];
      if (state === undefined) throw error;
      return { state, reason: `${messageOf(error)}${log === '' ? '' : `\n${log}`}`, isForMemory: isOutOfMemory(error) };
    }
  }

  /** What is refused stays loaded: the next follow tries again. What fentry does not take (the function's trampoline is full), a kprobe may. */
  #attach(state: State): void {
    const { loaded, handle } = state;
    if (loaded === undefined || handle !== undefined) return;
    const refusal = tryToAttach(state, loaded);
    state.refusal = refusal;
    if (refusal === undefined || loaded.backend === 'kprobe') return;
    const other = this.#refused.kprobe ?? this.#attachKprobe(state, loaded, refusal);
    state.refusal = other === undefined ? undefined : `${refusal}\n${other}`;
  }

  /** In place of the fentry that is refused; gives why not. */
  #attachKprobe(state: State, fentry: Loaded, refusal: string): string | undefined {
    const refused = this.#open(new Map([[state, { ...fentry, backend: 'kprobe' as const }]]));
    if (refused !== undefined) return refused.reason;
    state.reason = refusal;
    this.#unloadIfUnused(fentry.object);
    return tryToAttach(state, state.loaded ?? fentry);
  }

  #detach(state: State): void {
    const { handle } = state;
    if (handle === undefined) return;
    state.handle = undefined;
    state.loaded?.object.detach(handle);
  }

  #listFunctions(probes: readonly Probe[]): ReturnType<typeof listFunctions> {
    return listFunctions(readOrEmpty(this.#options.kallsyms), symbolsOf(probes));
  }
}

/** Gives why it is refused. */
function tryToAttach(state: State, { backend, object }: Loaded): string | undefined {
  const { name, function: of } = state.probe;
  const program = `${backend}_${name.replaceAll('-', '_')}`;
  try {
    state.handle = backend === 'fentry' ? object.attachTracing(program) : object.attachKprobe(program, of);
    return undefined;
  } catch (error) {
    const { code = '' } = error as { code?: string };
    const isForbidden = backend === 'kprobe' && (code === 'EPERM' || code === 'EACCES');
    return `${messageOf(error)}${isForbidden ? ': is perf_event_open refused to this process?' : ''}`;
  }
}

/** Runs of an object's programs that the kernel has refused. */
export function missesOf(object: BpfObject): number {
  return object.programs().reduce((sum, program) => sum + Number(object.programInfo(program).recursionMisses), 0);
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
