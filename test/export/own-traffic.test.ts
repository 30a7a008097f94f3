import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OwnTraffic } from '../../src/export/own-traffic.ts';
import { serviceFlow } from './events.ts';

const SERVICE = { ip: '10.96.0.9', port: 4318 };
const BEHIND = { ip: '10.244.2.3', port: 14318 };
const COLLECTOR = { namespace: 'telemetry', name: 'otelcol-0', uid: 'u' };
const NODE = { ip: '192.168.60.12', port: 40000, node: 'host2' };
const POD = { ip: '10.244.1.2', port: 40001, pod: { namespace: 'shop', name: 'web-0', uid: 'w' } };

function guard(): OwnTraffic {
  const own = new OwnTraffic(({ ip }) => (ip === SERVICE.ip ? [BEHIND] : []));
  own.add(SERVICE);
  return own;
}

const flow = (src: object, dst: object, nat: ReturnType<typeof serviceFlow>['nat'] = []) =>
  serviceFlow({ src, dst, nat } as Parameters<typeof serviceFlow>[0]);

test('a node that speaks to the collector is exporting: by the Service’s address and by the endpoint’s', () => {
  assert.equal(guard().isOwn(flow(NODE, SERVICE), 0), true);
  assert.equal(guard().isOwn(flow(NODE, { ...BEHIND, pod: COLLECTOR }), 0), true);
  const dnat = { kind: 'dnat', before: SERVICE, after: { ...BEHIND, pod: COLLECTOR }, seenBy: 'conntrack' } as const;
  assert.equal(guard().isOwn(flow(NODE, SERVICE, [dnat]), 0), true);
  assert.equal(guard().isOwn(flow({ ...BEHIND, pod: COLLECTOR }, NODE), 0), true, 'its replies');
});

test('what a pod sends to the collector is told, masqueraded as its node or not', () => {
  assert.equal(guard().isOwn(flow(POD, SERVICE), 0), false);
  const snat = { kind: 'snat', before: POD, after: NODE, seenBy: 'conntrack' } as const;
  assert.equal(guard().isOwn(flow(POD, SERVICE, [snat]), 0), false);
});

test('another port of the collector, another protocol and another host are told', () => {
  assert.equal(guard().isOwn(flow(NODE, { ...BEHIND, port: 13133, pod: COLLECTOR }), 0), false);
  assert.equal(guard().isOwn({ ...flow(NODE, SERVICE), proto: 'udp' }, 0), false);
  assert.equal(guard().isOwn(flow(NODE, { ip: '10.96.0.63', port: 4318 }), 0), false);
});

test('endpoints that come later are known after a while', () => {
  let behind: { ip: string; port: number }[] = [];
  const own = new OwnTraffic(() => behind);
  own.add(SERVICE);
  const event = flow(NODE, BEHIND);
  assert.equal(own.isOwn(event, 0), false);
  behind = [BEHIND];
  assert.equal(own.isOwn(event, 1000), false);
  assert.equal(own.isOwn(event, 5000), true);
});
