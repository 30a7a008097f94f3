import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTracer } from './tracer-fixture.ts';

test('drops that cannot be attached cost the drops alone, are told with the reason, and are tried again', (t) => {
  const { tracer, kernel } = openTracer(t);
  const drops = () => tracer.hooks().find(({ name }) => name === 'drops');
  assert.equal(drops()?.state, 'idle');
  kernel.refused.add('ktrace_drop');
  tracer.attachStack();
  assert.deepEqual([drops()?.state, drops()?.reason], ['unavailable', 'attach ktrace_drop: EBUSY']);
  assert.deepEqual(tracer.notices, [{ code: 'KTRACE_N_NO_DROPS', text: 'drops cannot be told: attach ktrace_drop: EBUSY' }]);
  tracer.detachStack();
  kernel.refused.clear();
  tracer.attachStack();
  assert.deepEqual([drops()?.state, tracer.notices], ['on', []]);
  tracer.detachStack();
  assert.deepEqual([...kernel.attached.values()], []);
});

test('an interface that the kernel does not let go of is detached from the other direction all the same', (t) => {
  const { tracer, kernel } = openTracer(t);
  tracer.attach(7, 'pod', true);
  assert.deepEqual([...kernel.attached.values()], ['ktrace_ingress 7', 'ktrace_egress 7']);
  kernel.refused.add('ktrace_ingress 7');
  assert.throws(() => tracer.detach(7), /ktrace_ingress/);
  assert.deepEqual([tracer.isAttached(7), [...kernel.attached.values()]], [false, ['ktrace_ingress 7']]);
});

test('an interface of which one direction cannot be attached is left as it was', (t) => {
  const { tracer, kernel } = openTracer(t);
  kernel.refused.add('ktrace_egress 7');
  assert.throws(() => tracer.attach(7, 'pod', true), /ktrace_egress 7/);
  assert.deepEqual([[...kernel.attached], kernel.maps.get('interfaces')?.size], [[], 0]);
});
