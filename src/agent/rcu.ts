import { readFileSync, writeFileSync } from 'node:fs';

const KNOB = '/sys/kernel/rcu_expedited';

/**
 * Runs `work` with expedited RCU grace periods where that can be asked for. The kernel waits a grace period for every program that it attaches
 * to or detaches from tcx, with the lock of all network configuration held: about 10 ms each, 0.5 ms expedited (measured, 6.18, 250 Hz). With
 * hundreds of interfaces that decides whether a node's networking stands still for seconds. The knob is put back as it was found.
 */
export function withExpeditedRcu(work: () => void, knob = KNOB): void {
  const hasChanged = tryToExpedite(knob);
  try {
    work();
  } finally {
    if (hasChanged) writeFileSync(knob, '0');
  }
}

function tryToExpedite(knob: string): boolean {
  try {
    if (readFileSync(knob, 'utf8').trim() !== '0') return false;
    writeFileSync(knob, '1');
    return true;
  } catch {
    // A read-only /sys: it works all the same, only slower.
    return false;
  }
}
