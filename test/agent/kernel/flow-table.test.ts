import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KernelFlows } from '../../../src/agent/kernel/flow-table.ts';
import { COUNTER, FLOW, FLOW_COUNT, FLOW_KEY, FLOW_PLACE, PLACE, TUPLE } from '../../../src/event/layout.ts';
import type { BpfObject } from '../../../src/native/types.ts';

const [POD, OTHER_POD, UPLINK] = [7, 8, 9];
const UDP = 17;

interface Value {
  lastNs: bigint;
  openedAt?: number;
  /** By place: its interface. */
  places?: Partial<Record<number, number>>;
  /** By counter: packets; each of 100 bytes. */
  counts?: Partial<Record<number, number>>;
  /** Of each counter, if not that. */
  bytes?: number;
}

function keyOf(sport: number): Buffer {
  const key = Buffer.alloc(FLOW_KEY.size);
  key.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 2], FLOW_KEY.tuple + TUPLE.src);
  key.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 2, 10], FLOW_KEY.tuple + TUPLE.dst);
  key.writeUInt16LE(sport, FLOW_KEY.tuple + TUPLE.sport);
  key.writeUInt16LE(53, FLOW_KEY.tuple + TUPLE.dport);
  key.writeUInt8(UDP, FLOW_KEY.proto);
  return key;
}

function bytesOf({ lastNs, openedAt = POD, places = {}, counts = {}, bytes }: Value): Buffer {
  const value = Buffer.alloc(FLOW.size);
  value.writeBigUInt64LE(lastNs, FLOW.lastNs);
  value.writeUInt32LE(openedAt, FLOW.openedAt);
  for (const [place, ifindex] of Object.entries(places))
    value.writeUInt32LE(ifindex ?? 0, FLOW.places + Number(place) * FLOW_PLACE.size + FLOW_PLACE.ifindex);
  for (const [counter, packets = 0] of Object.entries(counts)) {
    const at = FLOW.counts + Number(counter) * FLOW_COUNT.size;
    value.writeBigUInt64LE(BigInt(packets), at + FLOW_COUNT.packets);
    value.writeBigUInt64LE(BigInt(bytes ?? packets * 100), at + FLOW_COUNT.bytes);
  }
  return value;
}

function opened() {
  const map = new Map<string, Buffer>();
  const set = (sport: number, value: Value) => map.set(keyOf(sport).toString('hex'), bytesOf(value));
  const object = {
    mapEntries: () => Buffer.concat([...map].flatMap(([key, value]) => [Buffer.from(key, 'hex'), value])),
    mapTake(_name: string, keys: Buffer) {
      const taken: Buffer[] = [];
      for (let at = 0; at < keys.length; at += FLOW_KEY.size) {
        const key = keys.subarray(at, at + FLOW_KEY.size);
        const value = map.get(key.toString('hex'));
        if (value !== undefined) taken.push(key, value);
        map.delete(key.toString('hex'));
      }
      return Buffer.concat(taken);
    },
  } as unknown as BpfObject;
  return { map, set, table: new KernelFlows(() => object) };
}

test('an entry of the flow table is what each pod’s interface has counted, or the uplink', () => {
  const { set, table } = opened();
  set(1, {
    lastNs: 5n,
    places: { [PLACE.podIn]: POD, [PLACE.podOut]: OTHER_POD, [PLACE.uplinkIn]: UPLINK },
    counts: { [COUNTER.podIn]: 3, [COUNTER.podOut]: 2, [COUNTER.uplink]: 1 },
  });
  set(2, { lastNs: 6n, places: { [PLACE.uplinkOut]: UPLINK }, counts: { [COUNTER.uplink]: 4 } });
  set(3, { lastNs: 7n });
  const [one, two, three] = table.changed();
  assert.deepEqual(one?.tuple, { src: '10.244.1.2', sport: 1, dst: '10.244.2.10', dport: 53 });
  assert.deepEqual([one?.proto, one?.lastNs], ['udp', 5n]);
  assert.deepEqual(one?.counts, [
    { ifindex: POD, direction: 'in', interfaceKind: 'pod', packets: 3, bytes: 300 },
    { ifindex: OTHER_POD, direction: 'out', interfaceKind: 'pod', packets: 2, bytes: 200 },
    { ifindex: UPLINK, direction: 'in', interfaceKind: 'uplink', packets: 1, bytes: 100 },
  ]);
  assert.deepEqual(two?.counts, [{ ifindex: UPLINK, direction: 'out', interfaceKind: 'uplink', packets: 4, bytes: 400 }]);
  assert.deepEqual(three?.counts, []);
});

test('an entry of the flow table is given again when it has counted something, and stays the same object', () => {
  const { set, table } = opened();
  const at = (lastNs: bigint, packets: number) => ({
    lastNs,
    places: { [PLACE.podIn]: POD },
    counts: { [COUNTER.podIn]: packets },
  });
  set(1, at(5n, 1));
  set(2, at(5n, 1));
  const [first] = table.changed();
  assert.deepEqual(table.changed(), []);
  set(1, at(5n, 2));
  const again = table.changed();
  assert.deepEqual([again.length, again[0] === first, first?.counts[0]?.packets], [1, true, 2], 'within one tick of the clock');
  set(1, at(6n, 2));
  assert.deepEqual(table.changed(), [first]);
  set(1, { ...at(6n, 2), bytes: 250 });
  assert.deepEqual(table.changed(), [first], 'a packet whose bytes were not counted yet');
  assert.equal(first?.counts[0]?.bytes, 250);
});

test('what is in the flow table is new again when it was cleared here, as after a stop that could not read it', () => {
  const { set, table } = opened();
  set(1, { lastNs: 5n, places: { [PLACE.podIn]: POD }, counts: { [COUNTER.podIn]: 3 } });
  assert.deepEqual([table.changed().length, table.changed().length], [1, 0]);
  table.clear();
  assert.deepEqual(
    table.changed().map(({ counts }) => counts[0]?.packets),
    [3],
  );
});

test('entries that are taken from the flow table have what they counted until then, and give back their interface’s part', () => {
  const { map, set, table } = opened();
  const at = (packets: number, openedAt: number) => ({
    lastNs: 5n,
    openedAt,
    places: { [PLACE.podIn]: POD },
    counts: { [COUNTER.podIn]: packets },
  });
  for (const sport of [1, 2, 3]) set(sport, at(1, sport === 3 ? UPLINK : POD));
  const [one, two, three] = table.changed();
  assert.deepEqual(
    [...table.shares],
    [
      [POD, 2],
      [UPLINK, 1],
    ],
  );
  set(2, at(9, POD));
  table.take([two!, three!]);
  assert.deepEqual([two?.counts[0]?.packets, three?.counts[0]?.packets, map.size], [9, 1, 1]);
  assert.deepEqual(
    [...table.shares],
    [
      [POD, 1],
      [UPLINK, 0],
    ],
  );
  table.take([two!]);
  assert.deepEqual(
    [...table.shares],
    [
      [POD, 1],
      [UPLINK, 0],
    ],
    'once',
  );
  set(2, at(1, POD));
  const [anew] = table.changed();
  assert.notEqual(anew, two, 'what comes under its key later is another one');
  map.clear();
  assert.deepEqual(table.changed(), []);
  set(1, at(1, POD));
  assert.notEqual(table.changed()[0], one, 'also when somebody else removed it');
});
