import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KernelStats } from '../../../../src/agent/kernel/tracer.ts';
import { Losses } from '../../../../src/agent/pipeline/losses/losses.ts';
import { POD_CUT, POD_CUT_STATE, RATE, RATE_CLASS, RATE_KEY, STATS } from '../../../../src/event/layout.ts';
import type { PodRef } from '../../../../src/event/types.ts';
import { addressBytes } from '../../../../src/util/address.ts';

const NOISY: PodRef = { namespace: 'default', name: 'noisy', uid: 'u1' };
const REMOTE: PodRef = { namespace: 'default', name: 'remote', uid: 'u2' };

/** One entry of the kernel's map. */
function rate(fields: { rateClass: keyof typeof RATE_CLASS; ifindex?: number; ip?: string; cut: number }): Buffer {
  const entry = Buffer.alloc(RATE_KEY.size + RATE.size);
  entry.set(addressBytes(fields.ip ?? '::') as Uint8Array, RATE_KEY.address);
  entry.writeUInt32LE(fields.ifindex ?? 1, RATE_KEY.ifindex);
  entry.writeUInt32LE(RATE_CLASS[fields.rateClass], RATE_KEY.rateClass);
  entry.writeBigUInt64LE(BigInt(fields.cut), RATE_KEY.size + RATE.cut);
  return entry;
}

/** What was cut without a closer look of the pod at an interface, or of an address. */
function podCut({ ifindex = 0, ip, cut = 0 }: { ifindex?: number; ip?: string; cut?: number }): Buffer {
  const value = Buffer.alloc(POD_CUT.size);
  value.writeBigUInt64LE(BigInt(cut), POD_CUT.cut);
  value.writeUInt32LE(ifindex, POD_CUT.ifindex);
  value.writeUInt32LE(ip === undefined ? 0 : POD_CUT_STATE.address, POD_CUT.state);
  value.set(addressBytes(ip ?? '::') as Uint8Array, POD_CUT.address);
  return value;
}

function kernel() {
  const none = Object.fromEntries(Object.keys(STATS).map((name) => [name, 0])) as unknown as KernelStats;
  const state = { stats: none, rates: [] as Buffer[], podCuts: [] as Buffer[], misses: 0, clock: 0 };
  const losses = new Losses({
    node: 'host1',
    tracer: {
      stats: () => state.stats,
      rates: () => Buffer.concat(state.rates),
      podCuts: () => Buffer.concat(state.podCuts),
      recursionMisses: () => state.misses,
    },
    podOf: ({ ifindex, ip }) => (ifindex === 7 ? NOISY : ip === '10.244.2.2' ? REMOTE : undefined),
    now: () => String(++state.clock),
  });
  const told = (stats: Partial<KernelStats>, ...rates: Buffer[]) => {
    state.stats = { ...state.stats, ...stats };
    state.rates = rates;
    return losses.take().map(({ stage, count, pod }) => [stage, count, pod?.name]);
  };
  return { losses, told, state };
}

test('what was lost before the start is nobody’s to hear, and what is lost after it is told once', () => {
  const { losses, told, state } = kernel();
  state.stats = { ...state.stats, lostRing: 5, cut: 9 };
  state.rates = [rate({ rateClass: 'own', ifindex: 7, cut: 9 })];
  losses.start();
  assert.deepEqual(told({}, ...state.rates), []);
  assert.deepEqual(told({ lostRing: 7, lostScratch: 1 }, ...state.rates), [['kernel-ring', 3, undefined]]);
  assert.deepEqual(told({}, ...state.rates), []);
});

test('what found no room in the flow table is told once, and that the table is full until there was room for a while', () => {
  const { losses, told, state } = kernel();
  state.stats = { ...state.stats, uncounted: 5, flowTableFull: 6 };
  losses.start();
  assert.deepEqual([told({}), losses.isTableFull], [[], false]);
  assert.deepEqual(told({ uncounted: 8, flowTableFull: 9 }), [['flow-table', 3, undefined]]);
  assert.equal(losses.isTableFull, true);
  assert.deepEqual(told({ flowTableFull: 10 }), [], 'a SYN without room for its flow was told');
  for (let n = 1; n < 30; n++) assert.deepEqual([told({}), losses.isTableFull], [[], true]);
  assert.deepEqual([told({}), losses.isTableFull], [[], false]);
});

test('runs that the kernel refused are told once, and a program that is unloaded takes its count with it', () => {
  const { losses, told, state } = kernel();
  state.misses = 4;
  losses.start();
  assert.deepEqual(told({}), []);
  state.misses = 6;
  assert.deepEqual([told({}), told({})], [[['kernel-recursion', 2, undefined]], []]);
  state.misses = 1;
  assert.deepEqual(told({}), []);
  state.misses = 2;
  assert.deepEqual(told({}), [['kernel-recursion', 1, undefined]]);
});

test('what was cut is told by pod, by its interface or its address, and the rest without one', () => {
  const { losses, told } = kernel();
  losses.start();
  const rates = [
    rate({ rateClass: 'own', ifindex: 7, cut: 10 }),
    rate({ rateClass: 'answerToUntold', ifindex: 7, cut: 5 }),
    rate({ rateClass: 'uplink', ip: '10.244.2.2', cut: 20 }),
    rate({ rateClass: 'laterOut', cut: 3 }),
    rate({ rateClass: 'drop', ip: '10.9.9.9', cut: 4 }),
  ];
  assert.deepEqual(told({ cut: 50 }, ...rates), [
    ['pod-rate', 15, 'noisy'],
    ['pod-rate', 20, 'remote'],
    // Charged to nobody known, or to a rate that the kernel has forgotten since.
    ['pod-rate', 15, undefined],
  ]);
});

test('what was cut without a closer look is told with what the pod’s rate has cut, and counted on from there', () => {
  const { losses, told, state } = kernel();
  const rates = [rate({ rateClass: 'own', ifindex: 7, cut: 10 })];
  state.rates = rates;
  const nobodys = podCut({});
  state.podCuts = [nobodys, podCut({ ifindex: 7, cut: 4 })];
  state.stats = { ...state.stats, cut: 14 };
  losses.start();
  const others = [podCut({ ifindex: 9, cut: 6 }), podCut({ ip: '10.244.2.2', cut: 30 })];
  state.podCuts = [nobodys, podCut({ ifindex: 7, cut: 104 }), ...others];
  assert.deepEqual(told({ cut: 151 }, ...rates), [
    ['pod-rate', 100, 'noisy'],
    ['pod-rate', 30, 'remote'],
    ['pod-rate', 7, undefined],
  ]);
  state.podCuts = [nobodys, podCut({ ifindex: 7, cut: 105 }), ...others];
  assert.deepEqual(told({ cut: 153 }, rate({ rateClass: 'own', ifindex: 7, cut: 11 })), [['pod-rate', 2, 'noisy']]);
});

test('a run that has charged a pod and not counted itself yet is told once all the same', () => {
  const { losses, told } = kernel();
  losses.start();
  const rates = [rate({ rateClass: 'own', ifindex: 7, cut: 3 })];
  assert.deepEqual(told({ cut: 2 }, ...rates), [['pod-rate', 3, 'noisy']]);
  assert.deepEqual(told({ cut: 3 }, ...rates), []);
});

test('a rate that was forgotten and began anew is counted from nothing', () => {
  const { losses, told } = kernel();
  losses.start();
  assert.deepEqual(told({ cut: 8 }, rate({ rateClass: 'own', ifindex: 7, cut: 8 })), [['pod-rate', 8, 'noisy']]);
  assert.deepEqual(told({ cut: 10 }, rate({ rateClass: 'own', ifindex: 7, cut: 2 })), [['pod-rate', 2, 'noisy']]);
});
