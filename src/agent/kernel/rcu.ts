import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { NativeModule } from '../../native/types.ts';

/** `auto`: but where CPUs are isolated, which an expedited grace period interrupts like all others. */
export type RcuExpedited = 'auto' | 'on' | 'off';

export interface ExpeditingOptions {
  guardFile: NativeModule['guardFile'];
  choice?: RcuExpedited | undefined;
  /** Where sysfs is. */
  sys?: string;
}

/**
 * The kernel takes any number but 0 for yes, and shows it as it was written: found at rest, this one is of an agent that was killed at work together
 * with the guard that would have put it back.
 */
const MARK = '7589';
const UNSET = '0';

/**
 * Gives what runs `work` with expedited RCU grace periods where that can be asked for. The kernel waits a grace period for every program that it
 * attaches to or detaches from tcx, with the lock of all network configuration held: about 10 ms each, 0.5 ms expedited (measured, 6.18, 250 Hz).
 * With hundreds of interfaces that decides whether a node's networking stands still for seconds. The knob is the whole machine's: it is put back
 * after the work, by a guard when this process is killed meanwhile, and here, now, when the guard was killed, too. Taking a living agent's mark for one
 * that was left costs that agent its speed and nothing else. What somebody else has set is left as it is.
 */
export function openExpediting({ guardFile, choice = 'auto', sys = '/sys' }: ExpeditingOptions): (work: () => void) => void {
  const knob = join(sys, 'kernel/rcu_expedited');
  const mark = (): ReturnType<NativeModule['guardFile']> | undefined => {
    try {
      return [UNSET, MARK].includes(textOf(knob)) ? guardFile(knob, MARK, UNSET) : undefined;
    } catch {
      // A read-only /sys, or no process left for the guard: it works all the same, only slower.
      return undefined;
    }
  };
  putRight(knob);
  const mayExpedite = choice === 'on' || (choice === 'auto' && !hasIsolatedCpus(sys));
  return (work) => {
    const guard = mayExpedite ? mark() : undefined;
    try {
      work();
    } finally {
      guard?.close();
    }
  };
}

function putRight(knob: string): void {
  try {
    if (textOf(knob) === MARK) writeFileSync(knob, UNSET);
  } catch {
    // A read-only /sys: the next agent that may write there does it.
  }
}

/** By the kernel's lists of CPUs, such as `2-5`; without any they are empty or `(null)`, by version. */
function hasIsolatedCpus(sys: string): boolean {
  return ['nohz_full', 'isolated'].some((name) => /\d/.test(textOf(join(sys, 'devices/system/cpu', name))));
}

/** Empty where there is no such file. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
