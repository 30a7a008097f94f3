import { readFileSync } from 'node:fs';
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
  handle: number | undefined;
  /** Refused by the kernel: loading it again would end the same way. */
  isFinal: boolean;
}

/**
 * The programs on the kernel's own functions. Each is resolved, loaded and attached for itself: what this kernel does not have, or refuses, costs
 * that probe's facts and is reported with its reason. A function of a module that is loaded later is picked up by {@link refresh}.
 */
export class Probes {
  readonly #options: Required<ProbesOptions>;
  readonly #states: State[];
  /** Why there is no such backend at all. */
  readonly #refused: Partial<Record<ProbeBackend, string>> = {};
  readonly #objects: BpfObject[] = [];
  #isActive = false;
  #modules = '';

  constructor(options: ProbesOptions) {
    this.#options = { kallsyms: '/proc/kallsyms', modules: '/proc/modules', ...options };
    this.#states = PROBES.map((probe) => ({
      probe,
      backend: 'none',
      reason: undefined,
      isExpected: false,
      object: undefined,
      handle: undefined,
      isFinal: false,
    }));
    this.#tryBackends();
    this.#modules = this.#readModules();
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
    return this.#objects.flatMap((object) => object.programs().map((program) => ({ object, program })));
  }

  setActive(isActive: boolean): void {
    this.#isActive = isActive;
    for (const state of this.#states) {
      if (isActive) this.#attach(state);
      else this.#detach(state);
    }
  }

  /** Modules may have come: what was missing is looked for again. Cheap when none has. True when hooks have changed. */
  refresh(): boolean {
    if (!this.#states.some(({ object, isFinal }) => object === undefined && !isFinal)) return false;
    const modules = this.#readModules();
    if (modules === this.#modules) return false;
    this.#modules = modules;
    const before = JSON.stringify(this.hooks());
    this.#load();
    if (this.#isActive) for (const state of this.#states) this.#attach(state);
    return JSON.stringify(this.hooks()) !== before;
  }

  close(): void {
    this.setActive(false);
    for (const object of this.#objects) object.close();
    this.#objects.length = 0;
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
    const wanted = new Map<State, { backend: ProbeBackend; positions: Uint8Array }>();
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
    const resolutions = resolveProbes(probes, functions, this.#options.native.btf);
    for (const state of open) {
      const resolution = resolutions.get(state.probe);
      state.reason = undefined;
      state.isExpected = false;
      if (resolution === undefined || 'reason' in resolution) Object.assign(state, resolution);
      else wanted.set(state, { backend: first, positions: resolution.positions });
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
  #open(
    wanted: ReadonlyMap<State, { backend: ProbeBackend; positions: Uint8Array }>,
  ): { state: State; reason: string } | undefined {
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
      this.#objects.push(object);
      for (const [state, { backend }] of wanted) {
        state.object = object;
        state.backend = backend;
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
    if (state.handle === undefined) return;
    state.object?.detach(state.handle);
    state.handle = undefined;
  }

  #listFunctions(probes: readonly Probe[]): ReturnType<typeof listFunctions> {
    return listFunctions(readOrEmpty(this.#options.kallsyms), symbolsOf(probes));
  }

  /** Names alone: their use counts change all the time. */
  #readModules(): string {
    return readOrEmpty(this.#options.modules).replace(/ .*$/gm, '');
  }
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
