import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { openTracer } from '../support/kernel.ts';
import { SKIP } from '../support/lab-fixture.ts';

/** What the verifier goes through of a program is what loading it costs: 100,000 are half a second here, and a million it refuses. */
const MOST_INSTRUCTIONS = 100_000;

test('no program takes the verifier long', { skip: SKIP }, (t) => {
  const tracer = openTracer();
  t.after(() => tracer.close());
  const names = new Map(tracer.object.programs().map((name) => [tracer.object.programInfo(name).id, name]));
  const verified = new Map<string, number>();
  for (const fd of readdirSync('/proc/self/fdinfo')) {
    const info = infoOf(fd);
    const name = names.get(numberIn(info, 'prog_id') ?? 0);
    const instructions = numberIn(info, 'verified_insns');
    if (name !== undefined && instructions !== undefined) verified.set(name, instructions);
  }
  const all = [...verified].sort(([, one], [, other]) => other - one);
  t.diagnostic(all.map(([name, instructions]) => `${name} ${instructions}`).join(', '));
  assert.ok(verified.has('body_in') && verified.has('body_told') && verified.has('ktrace_in'));
  assert.deepEqual(
    all.filter(([, instructions]) => instructions > MOST_INSTRUCTIONS),
    [],
  );
});

/** Empty where the descriptor is gone, as the folder's own is. */
function infoOf(fd: string): string {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  } catch {
    return '';
  }
}

function numberIn(info: string, name: string): number | undefined {
  const found = new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(info)?.[1];
  return found === undefined ? undefined : Number(found);
}
