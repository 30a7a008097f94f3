import assert from 'node:assert/strict';
import { test } from 'node:test';
import { corrections, WireClocks } from '../../../src/client/merge/wire-clocks.ts';
import { fc } from '../../support/fast-check.ts';

test('times are left as told while the clocks agree, and put on the median when one does not', () => {
  const agreeing = new Map([
    ['a', { offsetMs: 1000, uncertaintyMs: 8 }],
    ['b', { offsetMs: 1004, uncertaintyMs: 8 }],
    ['c', { offsetMs: 998, uncertaintyMs: 8 }],
  ]);
  assert.deepEqual(
    [...corrections(agreeing, new WireClocks(), 0).values()].map(({ offsetMs }) => offsetMs),
    [0, 0, 0],
  );
  agreeing.set('b', { offsetMs: 1500, uncertaintyMs: 8 });
  assert.equal(corrections(agreeing, new WireClocks(), 0).get('b')?.offsetMs, 500);
  assert.equal(corrections(new Map(), new WireClocks(), 0).size, 0);
});

test('packets both ways tell how far clocks are apart, as exactly as the wire is short', () => {
  const clocks = new Map([
    ['a', { offsetMs: 0, uncertaintyMs: 200 }],
    ['b', { offsetMs: 900, uncertaintyMs: 200 }],
  ]);
  const wires = new WireClocks();
  wires.crossed('a', 'b', 980.05, 0);
  wires.crossed('b', 'a', -979.95, 0);
  const estimate = wires.aheadOf('a', clocks, 0).get('b');
  assert.ok(Math.abs((estimate?.offsetMs ?? 0) - 980) < 1e-6);
  assert.ok(Math.abs((estimate?.uncertaintyMs ?? 0) - 0.05) < 1e-6);
});

test('the true offset is within the bounds, whatever packets crossed and by way of which nodes', () => {
  const crossing = fc.record({ from: fc.nat(3), to: fc.nat(3), wireMs: fc.double({ min: 0, max: 50, noNaN: true }) });
  const node = fc.record({
    offsetMs: fc.double({ min: -1000, max: 1000, noNaN: true }),
    errorMs: fc.double({ min: -100, max: 100, noNaN: true }),
  });
  fc.assert(
    fc.property(fc.array(node, { minLength: 4, maxLength: 4 }), fc.array(crossing, { maxLength: 30 }), (nodes, crossings) => {
      const clocks = new Map(
        nodes.map(({ offsetMs, errorMs }, index) => [`n${index}`, { offsetMs: offsetMs + errorMs, uncertaintyMs: 100 }]),
      );
      const wires = new WireClocks();
      for (const { from, to, wireMs } of crossings) {
        if (from !== to)
          wires.crossed(`n${from}`, `n${to}`, wireMs + (nodes[to]?.offsetMs ?? 0) - (nodes[from]?.offsetMs ?? 0), 0);
      }
      for (const [name, { offsetMs, uncertaintyMs }] of wires.aheadOf('n0', clocks, 0)) {
        const truth = (nodes[Number(name.slice(1))]?.offsetMs ?? 0) - (nodes[0]?.offsetMs ?? 0);
        assert.ok(Math.abs(truth - offsetMs) <= uncertaintyMs + 1e-6);
      }
    }),
  );
});

test('a clock that was stepped is believed by its messages, and by packets from then on', () => {
  const wires = new WireClocks();
  wires.crossed('a', 'b', 0.1, 0);
  wires.crossed('b', 'a', 0.1, 0);
  const stepped = new Map([
    ['a', { offsetMs: 0, uncertaintyMs: 1 }],
    ['b', { offsetMs: 5000, uncertaintyMs: 1 }],
  ]);
  assert.equal(wires.aheadOf('a', stepped, 10).get('b')?.offsetMs, 5000);
  wires.crossed('a', 'b', 5000.1, 20);
  wires.crossed('b', 'a', -4999.9, 20);
  assert.ok((wires.aheadOf('a', stepped, 20).get('b')?.uncertaintyMs ?? 1) < 0.11);
});
