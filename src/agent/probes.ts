import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import type { BpfObject, NativeModule } from '../native/types.ts';
import { messageOf } from '../util/errors.ts';
import type { HookState } from './feed.ts';
import { listFunctions, PROBES, type Probe, resolveProbes, symbolsOf } from './probe-plan.ts';

export type ProbeBackend = 'fentry' | 'kprobe';

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
}

interface State {
  probe: Probe;
  backend: ProbeBackend | 'none';
  reason: string | undefined;
  /** It is not there because what it does never happens here. */
  isExpected: boolean;
  object: BpfObject | undefined;
  /** The module that the program is for, and as what it was listed then. */
  module: { name: string; listed: string | undefined } | undefined;
  handle: number | undefined;
  /** Refused by the kernel: loading it again would end the same way. */
  isFinal: boolean;
}

/** How a probe is to be loaded. */
interface Plan extends Pick<State, 'module'> {
  backend: ProbeBackend;
  positions: Uint8Array;
}

/** The loaded modules by name, each with its state and, where the kernel shows it, its address: `Live 0xffffffffc0a00000`. */
type Modules = ReadonlyMap<string, string>;

/**
 * The programs on the kernel's own functions. Each is resolved, loaded and attached for itself: what this kernel does not have, or refuses, costs
 * that probe's facts and is reported with its reason. Modules that come and go later are picked up by {@link refresh}.
 */
export class Probes {
  readonly #options: Required<ProbesOptions>;
  readonly #states: State[];
  /** Why there is no such backend at all. */
  readonly #refused: Partial<Record<ProbeBackend, string>> = {};
  readonly #objects = new Set<BpfObject>();
  /** Counted by programs of objects that are closed. */
  #missesBefore = 0;
  #isActive = false;
  #modules: Modules;

  constructor(options: ProbesOptions) {
    this.#options = { kallsyms: '/proc/kallsyms', modules: '/proc/modules', ...options };
    this.#states = PROBES.map((probe) => ({
      probe,
      backend: 'none',
      reason: undefined,
      isExpected: false,
      object: undefined,
      module: undefined,
      handle: undefined,
      isFinal: false,
    }));
    this.#tryBackends();
    this.#modules = this.#listModules();
    this.#load();
  }

  hooks(): HookState[] {
    return this.#states.map(({ probe, backend, reason, object, handle }) => ({
      name: probe.name,
      backend,
      state: object === undefined ? 'unavailable' : handle === undefined ? 'idle' : 'on',
      ...(reason === undefined ? {} : { reason }),
    }));
  }

  /** What this kernel does not allow to trace, in one text; undefined when nothing is missing. */
  lacking(): string | undefined {
    const missing = this.#states.filter(({ object, isExpected }) => object === undefined && !isExpected);
    if (missing.length === 0) return undefined;
    const reasons = [...new Set(missing.map(({ reason = '' }) => reason.split('\n', 1)[0] ?? ''))].join('; ');
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
   * forgotten. Cheap when there is no such change. True when hooks have changed.
   */
  refresh(): boolean {
    const modules = this.#listModules();
    if (isDeepStrictEqual(modules, this.#modules)) return false;
    this.#modules = modules;
    const before = JSON.stringify(this.hooks());
    for (const state of this.#states) {
      if (state.module !== undefined && modules.get(state.module.name) !== state.module.listed) this.#forget(state);
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

  /** Detaches it; its program is unloaded with the last one of its object. */
  #forget(state: State): void {
    const { object } = state;
    this.#detach(state);
    Object.assign(state, { object: undefined, module: undefined, backend: 'none', reason: undefined });
    if (object === undefined || this.#states.some((other) => other.object === object)) return;
    this.#missesBefore += missesOf(object);
    this.#objects.delete(object);
    object.close();
  }

  #tryBackends(): void {
    const { native, backend } = this.#options;
    const tries = { fentry: native.tryFentry, kprobe: native.tryKprobe };
    for (const kind of ['fentry', 'kprobe'] as const) {
      if (backend !== 'auto' && backend !== kind) {
        this.#refused[kind] = 'switched off by --probes';
        continue;
      }
      try {
        tries[kind]();
      } catch (error) {
        this.#refused[kind] = refusal(kind, error);
      }
    }
  }

  /** Resolves and loads what is not loaded yet, in one go; a program that is refused is tried by the other backend, then left out. */
  #load(): void {
    const open = this.#states.filter(({ object, isFinal }) => object === undefined && !isFinal);
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
  #open(wanted: ReadonlyMap<State, Plan>): { state: State; reason: string } | undefined {
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
      for (const [state, { backend, module }] of wanted) {
        Object.assign(state, { object, backend, module });
        if (backend === 'kprobe') state.reason ??= this.#refused.fentry;
      }
      return undefined;
    } catch (error) {
      const { op = '', log = '' } = error as { op?: string; log?: string };
      const name = /^load program (\w+)/.exec(op)?.[1] ?? '';
      const state = programs.get(name) ?? [...programs.values()][0];
      if (state === undefined) throw error;
      return { state, reason: `${messageOf(error)}${log === '' ? '' : `\n${log}`}` };
    }
  }

  #attach(state: State): void {
    const { object, backend, probe } = state;
    if (object === undefined || state.handle !== undefined) return;
    const program = `${backend}_${probe.name.replaceAll('-', '_')}`;
    try {
      state.handle = backend === 'fentry' ? object.attachTracing(program) : object.attachKprobe(program, probe.function);
    } catch (error) {
      const { code = '' } = error as { code?: string };
      state.reason = `${messageOf(error)}${code === 'EPERM' || code === 'EACCES' ? ': is perf_event_open refused to this process?' : ''}`;
      state.object = undefined;
      state.backend = 'none';
      state.isFinal = code !== 'ENOENT';
    }
  }

  #detach(state: State): void {
    const { handle } = state;
    if (handle === undefined) return;
    state.handle = undefined;
    state.object?.detach(handle);
  }

  #listFunctions(probes: readonly Probe[]): ReturnType<typeof listFunctions> {
    return listFunctions(readOrEmpty(this.#options.kallsyms), symbolsOf(probes));
  }

  /** Without their use counts, which change all the time. */
  #listModules(): Modules {
    const lines = readOrEmpty(this.#options.modules).matchAll(/^(\S+) \S+ \S+ \S+ (\S+ \S+)/gm);
    return new Map([...lines].map(([, name = '', listed = '']) => [name, listed]));
  }
}

/** Runs of an object's programs that the kernel has refused. */
export function missesOf(object: BpfObject): number {
  return object.programs().reduce((sum, program) => sum + Number(object.programInfo(program).recursionMisses), 0);
}

function refusal(kind: ProbeBackend, error: unknown): string {
  const { code } = error as { code?: string };
  if (kind === 'kprobe' && code === 'ENODEV') return 'this kernel has no kprobes (CONFIG_KPROBES)';
  if (kind === 'kprobe' && (code === 'EPERM' || code === 'EACCES'))
    return `kprobe is refused to this process (${code}): perf_event_open needs CAP_PERFMON (CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2), and a seccomp profile that lets it through`;
  return `${kind} is refused (${code ?? messageOf(error)}): not in this kernel (CONFIG_FUNCTION_TRACER, CONFIG_BPF_JIT), or not to this process`;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
