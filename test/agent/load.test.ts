import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadForKernel } from '../../src/agent/load.ts';
import type { BpfObject, NativeModule } from '../../src/native/types.ts';

/** The reason that the kernel side leaves out, on a kernel with these. */
function leftOut(reasons: Record<string, number>): number {
  let config: Record<string, Uint8Array> = {};
  const btf = {
    available: () => true,
    enumValues: () => reasons,
    tracepointArguments: () => ['skb', 'location', 'reason'],
    hasMember: () => true,
    hasStruct: () => true,
  };
  const native = {
    btf,
    openObject: (_: string, options: { config: Record<string, Uint8Array> }) => {
      config = options.config;
      return {} as BpfObject;
    },
  } as unknown as NativeModule;
  loadForKernel({ native, objectPath: 'object', netns: 1, ringBytes: 4096, podRate: 0 });
  return Buffer.from(config['cfg_reason_consumed'] ?? []).readUInt32LE();
}

test('of the reasons of a drop only SKB_CONSUMED is left out, by its number on this kernel', () => {
  assert.equal(leftOut({ SKB_NOT_DROPPED_YET: 0, SKB_CONSUMED: 1, SKB_DROP_REASON_NOT_SPECIFIED: 2 }), 1);
  assert.equal(leftOut({ SKB_NOT_DROPPED_YET: 0, SKB_CONSUMED: 7, SKB_DROP_REASON_NOT_SPECIFIED: 8 }), 7);
});

test('where there is no SKB_CONSUMED no reason is left out', () => {
  const reasons = { SKB_NOT_DROPPED_YET: 0, SKB_DROP_REASON_NOT_SPECIFIED: 1, SKB_DROP_REASON_NO_SOCKET: 2 };
  assert.ok(!Object.values(reasons).includes(leftOut(reasons)));
});
