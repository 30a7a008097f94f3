import type { NativeModule } from '../../../native/types.ts';
import { messageOf } from '../../../util/errors.ts';

export type ProbeBackend = 'fentry' | 'kprobe';

/** Why there is no such backend at all. */
export type RefusedBackends = Readonly<Partial<Record<ProbeBackend, string>>>;

/** Finds out by trying. */
export function refusedBackends(native: NativeModule, wanted: 'auto' | ProbeBackend | 'none'): RefusedBackends {
  const refused: Partial<Record<ProbeBackend, string>> = {};
  const tries = { fentry: native.tryFentry, kprobe: native.tryKprobe };
  for (const kind of ['fentry', 'kprobe'] as const) {
    if (wanted !== 'auto' && wanted !== kind) {
      refused[kind] = 'switched off by --probes';
      continue;
    }
    try {
      tries[kind]();
    } catch (error) {
      refused[kind] = refusal(kind, error);
    }
  }
  return refused;
}

function refusal(kind: ProbeBackend, error: unknown): string {
  const { code } = error as { code?: string };
  if (kind === 'kprobe' && code === 'ENODEV') return 'this kernel has no kprobes (CONFIG_KPROBES)';
  if (kind === 'kprobe' && (code === 'EPERM' || code === 'EACCES'))
    return `kprobe is refused to this process (${code}): perf_event_open needs CAP_PERFMON (CAP_SYS_ADMIN where kernel.perf_event_paranoid is above 2), and a seccomp profile that lets it through`;
  return `${kind} is refused (${code ?? messageOf(error)}): not in this kernel (CONFIG_FUNCTION_TRACER, CONFIG_BPF_JIT), or not to this process`;
}
