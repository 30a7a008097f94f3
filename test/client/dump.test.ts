import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { dumpOf } from './recording-nodes.ts';

const DAMAGE = { name: 'names/00001764000000-0001.kseg', at: 16, bytes: 900 };

suite('what a dump lacks', () => {
  test('damage of the names, and of the Services, is told with its place, and --strict ends with 5', async (t) => {
    const { code, events, stderr } = await dumpOf(t, [{ node: 'host1' }, { node: 'host2', answer: { damaged: [DAMAGE] } }]);
    const text = '900 bytes of names/00001764000000-0001.kseg at 16 are damaged and were passed over';
    assert.deepEqual(events, [{ v: 1, kind: 'notice', node: 'host2', level: 'warn', code: 'KTRACE_N_RECORD_DAMAGED', text }]);
    assert.equal(code, 5, stderr);
  });

  test('damage of an incident is of no dump but its own', async (t) => {
    const damaged = [{ ...DAMAGE, name: '00000000000001-00000000.kinc' }];
    const { code, events } = await dumpOf(t, [{ node: 'host1', answer: { damaged } }]);
    assert.deepEqual([code, events], [0, []]);
  });
});
