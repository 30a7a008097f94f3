import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LateNames } from '../../../src/agent/record/names/late-names.ts';
import { endsOf } from '../../../src/event/ends.ts';
import type { FlowEvent, PacketEvent, PodRef } from '../../../src/event/types.ts';
import { flow, hop, packet } from '../../client/events.ts';

const IP = '10.244.1.7';
const NEW: PodRef = { namespace: 'shop', name: 'new', uid: 'uid-new', labels: {} };
const PEER: PodRef = { namespace: 'shop', name: 'peer', uid: 'uid-peer', labels: {} };

function start() {
  const written: (PacketEvent | FlowEvent)[] = [];
  const names = new Map<string, PodRef>();
  const local = new Set([IP]);
  const clock = { ms: 1000 };
  const late = new LateNames({
    isPodAddress: (ip) => local.has(ip),
    name(event) {
      for (const end of endsOf(event)) {
        const pod = names.get(end.ip);
        if (pod !== undefined) end.pod = pod;
        else delete end.pod;
      }
    },
    write: (event) => written.push(event),
    nowMs: () => clock.ms,
  });
  return { late, written, names, local, clock };
}

function sent(id: string, ip = IP): PacketEvent {
  return packet({ id, src: { ip }, dst: { ip: '10.244.2.9', pod: PEER }, hops: [hop('host1', 'veth1', 'in', 0)] });
}

describe('a record of a pod that has no name yet', () => {
  it('waits for it, and is written with it as soon as it is there', () => {
    const { late, written, names, local } = start();
    const [told, open] = [sent('p1'), flow({ id: 'f1', node: 'host1', src: { ip: IP }, dst: { ip: '10.244.2.9' } })];
    assert.ok(late.take(told) && late.take(open));
    late.release();
    assert.equal(written.length, 0);
    // It may be over by then: its interface is gone.
    local.clear();
    late.release();
    assert.equal(written.length, 0);
    names.set(IP, NEW);
    late.release();
    assert.deepEqual(
      written.map((event) => [event.id, event.src.pod?.name]),
      [
        ['p1', 'new'],
        ['f1', 'new'],
      ],
    );
    // Others were told it without.
    assert.equal(told.src.pod, undefined);
    assert.deepEqual(late.counts, { named: 2, unnamed: 0, full: 0 });
  });

  it('keeps the pods that an interface has decided', () => {
    const { late, written, names } = start();
    assert.ok(late.take(sent('p1')));
    names.set(IP, NEW).set('10.244.2.9', { ...PEER, uid: 'uid-other' });
    late.release();
    assert.equal(written[0]?.dst.pod?.uid, PEER.uid);
  });

  it('waits for it though a slice names the address, and is no other pod because a slice says so', () => {
    const { late, written, names } = start();
    const lie: PodRef = { namespace: 'evil', name: 'lie', uid: 'uid-lie' };
    const one = sent('p1');
    assert.ok(late.take({ ...one, src: { ...one.src, pod: lie } }));
    names.set(IP, lie);
    late.release();
    assert.equal(written.length, 0);
    names.set(IP, NEW).set('10.244.2.9', { ...lie, uid: PEER.uid });
    late.release();
    assert.deepEqual([written[0]?.src.pod, written[0]?.dst.pod], [NEW, PEER]);
  });

  it('is written without one in the end, and what comes next of the address does not wait for a minute', () => {
    const { late, written, clock } = start();
    assert.ok(late.take(sent('p1')));
    clock.ms += 2499;
    late.release();
    assert.equal(written.length, 0);
    clock.ms += 1;
    late.release();
    assert.deepEqual([written.length, late.counts], [1, { named: 0, unnamed: 1, full: 0 }]);
    assert.equal(late.take(sent('p2')), false);
    clock.ms += 60_000;
    late.release();
    assert.ok(late.take(sent('p3')));
  });

  it('does not wait where the end is another node’s, where its owner is known, or where too many wait', () => {
    const { late, written } = start();
    assert.equal(late.take(sent('remote', '10.244.2.3')), false);
    assert.equal(late.take({ ...sent('node'), src: { ip: IP, node: 'host1' } }), false);
    for (let at = 0; at < 2048; at++) assert.ok(late.take(sent(`p${at}`)));
    assert.equal(late.take(sent('more')), false);
    assert.equal(late.counts.full, 1);
    late.release(true);
    assert.equal(written.length, 2048);
  });
});
