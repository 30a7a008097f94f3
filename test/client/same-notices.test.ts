import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SameNotices } from '../../src/client/output/same-notices.ts';
import type { NoticeEvent } from '../../src/event/types.ts';

test('what several nodes say in the same words at the same time is told once, with all of them', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const told: string[] = [];
  const same = new SameNotices(({ node, text, level }) => told.push(`${level} ${node}: ${text}`));
  const say = (node: string, text: string, level: NoticeEvent['level'] = 'info') =>
    same.add({ v: 1, kind: 'notice', node, level, code: 'KTRACE_N_NO_PROBES', text });
  say('host3', 'no kprobes');
  say('host1', 'no kprobes');
  say('host2', 'no BTF');
  t.mock.timers.tick(900);
  say('host2', 'no kprobes', 'warn');
  t.mock.timers.tick(99);
  assert.deepEqual(told, []);
  t.mock.timers.tick(1);
  assert.deepEqual(told.splice(0), ['info host1, host3: no kprobes', 'info host2: no BTF', 'warn host2: no kprobes']);
  say('host1', 'no kprobes');
  t.mock.timers.tick(999);
  assert.deepEqual(told, []);
  t.mock.timers.tick(1);
  assert.deepEqual(told.splice(0), ['info host1: no kprobes']);
  say('host2', 'no kprobes');
  same.flush();
  t.mock.timers.tick(5000);
  assert.deepEqual(told, ['info host2: no kprobes']);
});
