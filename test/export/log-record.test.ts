import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exported } from '../../src/export/fields.ts';
import { logRecordJson } from '../../src/export/log-record.ts';
import { requestFrame } from '../../src/export/resource.ts';
import { droppedReply, serviceFlow } from './events.ts';
import { type LogRecord, type LogsRequest, plain } from './receiver.ts';

const OBSERVED = 1_795_337_103_000_000_009n;

function encoded(event: Exported): LogRecord {
  return JSON.parse(logRecordJson(event, 'i-e1', OBSERVED)) as LogRecord;
}

/** Everything but the attributes. */
function frameOf({ attributes: _, ...rest }: LogRecord): Omit<LogRecord, 'attributes'> {
  return rest;
}

test('a flow through a Service is told with both ends, what NAT made of it, and its counts', () => {
  const record = encoded(serviceFlow());
  assert.deepEqual(frameOf(record), {
    timeUnixNano: '1795337101250000000',
    observedTimeUnixNano: '1795337103000000009',
    severityNumber: 9,
    severityText: 'INFO',
    eventName: 'ktrace.flow',
    body: { stringValue: 'tcp shop/web-0:41512 -> shop/redis:6379 => shop/redis-0:6380 closed: 6/5 packets, 400/300 bytes' },
  });
  assert.deepEqual(plain(record.attributes), {
    'log.record.uid': 'i-e1',
    'network.transport': 'tcp',
    'network.type': 'ipv4',
    'ktrace.protocol': 'tcp',
    'source.address': '10.244.1.2',
    'source.port': 41512,
    'ktrace.source.k8s.namespace.name': 'shop',
    'ktrace.source.k8s.pod.name': 'web-0',
    'ktrace.source.k8s.pod.uid': 'u-web',
    'ktrace.source.k8s.owner': 'Deployment/web',
    'ktrace.source.k8s.node.name': 'host1',
    'destination.address': '10.96.0.63',
    'destination.port': 6379,
    'ktrace.destination.translated.address': '10.244.3.2',
    'ktrace.destination.translated.port': 6380,
    'ktrace.destination.k8s.namespace.name': 'shop',
    'ktrace.destination.k8s.pod.name': 'redis-0',
    'ktrace.destination.k8s.pod.uid': 'u-redis',
    'ktrace.destination.k8s.owner': 'StatefulSet/redis',
    'ktrace.destination.k8s.node.name': 'host3',
    'ktrace.destination.k8s.service.name': 'redis',
    'ktrace.nat.chains': ['KUBE-SVC-A', 'KUBE-SEP-B'],
    'ktrace.flow.id': 'i-f1',
    'ktrace.flow.state': 'close',
    'ktrace.flow.start_time': '2026-11-22T08:45:00.000000001Z',
    'ktrace.flow.request.packets': 6,
    'ktrace.flow.request.bytes': 400,
    'ktrace.flow.reply.packets': 5,
    'ktrace.flow.reply.bytes': 300,
  });
});

test('a pod that its end’s address no longer belongs to is told as gone, behind a Service too', () => {
  const gone = '2026-11-22T08:44:50.000Z';
  const [dnat] = serviceFlow().nat ?? [];
  assert.ok(dnat?.after.pod);
  const record = encoded(
    serviceFlow({ nat: [{ ...dnat, after: { ...dnat.after, pod: { ...dnat.after.pod, gone } } }], state: 'open' }),
  );
  const fields = plain(record.attributes);
  assert.deepEqual([fields['ktrace.source.k8s.pod.gone'], fields['ktrace.destination.k8s.pod.gone']], [undefined, gone]);
  assert.equal(record.body.stringValue, 'tcp shop/web-0:41512 -> shop/redis:6379 => shop/redis-0:6380 (gone) opened');
});

test('values are typed as OTLP has them in JSON: 64-bit integers are texts', () => {
  const { attributes } = encoded(serviceFlow({ dst: { ip: '1.1.1.1', port: 53, world: true }, nat: [] }));
  const typed = (name: string) => attributes.find(({ key }) => key === name)?.value;
  assert.deepEqual(typed('source.port'), { intValue: '41512' });
  assert.deepEqual(typed('ktrace.destination.world'), { boolValue: true });
  assert.deepEqual(typed('network.type'), { stringValue: 'ipv4' });
  assert.equal(typed('ktrace.nat.chains'), undefined, 'an empty list is left out');
});

test('a flow that was not counted has no counts, in its line neither', () => {
  const { attributes, body } = encoded(serviceFlow({ counted: false }));
  assert.match(body.stringValue ?? '', / closed: not counted$/);
  assert.deepEqual(
    attributes.filter(({ key }) => /packets|bytes/.test(key)),
    [],
  );
});

test('a flow that has just begun is told at its start and without counts in its line', () => {
  const record = encoded(serviceFlow({ state: 'open' }));
  assert.equal(record.timeUnixNano, '1795337100000000001');
  assert.match(record.body.stringValue ?? '', / opened$/);
});

test('a dropped reply is a warning, its ends are whose they are behind the masquerade', () => {
  const record = encoded(droppedReply());
  assert.deepEqual(frameOf(record), {
    timeUnixNano: '1795337102000000003',
    observedTimeUnixNano: '1795337103000000009',
    severityNumber: 13,
    severityText: 'WARN',
    eventName: 'ktrace.drop',
    body: {
      stringValue:
        'tcp shop/redis-0:6380 => 10.96.0.63:6379 -> node/host1:1025 => shop/web-0:41512 dropped: NETFILTER_DROP at nf_hook_slow on cni0',
    },
  });
  const fields = plain(record.attributes);
  assert.equal(fields['ktrace.source.k8s.pod.name'], 'redis-0');
  assert.equal(fields['ktrace.source.k8s.service.name'], 'redis');
  assert.equal(fields['ktrace.source.translated.address'], '10.96.0.63');
  assert.equal(fields['destination.address'], '192.168.60.11');
  assert.equal(fields['ktrace.destination.k8s.pod.name'], 'web-0');
  assert.equal(fields['ktrace.destination.translated.port'], 41512);
  assert.equal(fields['ktrace.drop.reason'], 'NETFILTER_DROP');
  assert.equal(fields['ktrace.drop.symbol'], 'nf_hook_slow');
  assert.equal(fields['network.interface.name'], 'cni0');
  assert.deepEqual(fields['ktrace.packet.hops'], ['eth0 in', 'cni0 out']);
  assert.equal(fields['ktrace.tcp.flags'], 'SA');
});

test('IPv6 ends without a name stand in brackets, and ICMP has no ports', () => {
  const v6 = encoded(
    serviceFlow({ src: { ip: 'fd00::1', port: 5 }, dst: { ip: 'fd00::2', port: 6, world: true }, nat: [], state: 'open' }),
  );
  assert.equal(v6.body.stringValue, 'tcp [fd00::1]:5 -> [fd00::2]:6 opened');
  assert.equal(plain(v6.attributes)['network.type'], 'ipv6');
  const { tcp: _, ...packet } = droppedReply({ proto: 'icmp', nat: [], dir: 'request' });
  const icmp = encoded({
    ...packet,
    src: { ip: '10.0.0.1' },
    dst: { ip: '10.0.0.2' },
    icmp: { type: 8, code: 0, name: 'echo-request' },
  });
  assert.match(icmp.body.stringValue ?? '', /^icmp echo-request 10\.0\.0\.1 -> 10\.0\.0\.2 dropped/);
  const fields = plain(icmp.attributes);
  assert.equal(fields['network.transport'], undefined);
  assert.equal(fields['source.port'], undefined);
  assert.equal(fields['ktrace.icmp.name'], 'echo-request');
});

test('what was lost and what is to be noticed have records of their own', () => {
  const [from, to] = ['2026-11-22T08:45:00.000000000Z', '2026-11-22T08:45:02.000000000Z'];
  const lost = encoded({ v: 1, kind: 'lost', node: 'host1', stage: 'export', count: 12, from, to });
  assert.deepEqual([lost.eventName, lost.severityText, lost.timeUnixNano], ['ktrace.lost', 'WARN', '1795337102000000000']);
  assert.deepEqual(plain(lost.attributes), {
    'log.record.uid': 'i-e1',
    'ktrace.lost.stage': 'export',
    'ktrace.lost.count': 12,
    'ktrace.lost.from_time': from,
    'ktrace.lost.to_time': to,
  });
  const notice = encoded({ v: 1, kind: 'notice', level: 'error', code: 'KTRACE_N_X', text: 'a "text"\u001b[31m' });
  assert.deepEqual([notice.eventName, notice.severityNumber], ['ktrace.notice', 17]);
  assert.equal(notice.timeUnixNano, notice.observedTimeUnixNano);
  assert.equal(notice.body.stringValue, 'a "text"\u001b[31m');
});

test('the frame makes an ExportLogsServiceRequest whose resource says which agent it is', () => {
  const source = { node: 'host1', hostName: 'host1.example', instance: 'i', version: '1.2.3' };
  const { head, tail } = requestFrame({
    ...source,
    attributes: { 'k8s.cluster.name': 'prod "1"', 'service.name': 'traffic', 'odd"name': 'x' },
  });
  const request = JSON.parse(head + tail) as LogsRequest;
  assert.deepEqual(plain(request.resourceLogs[0]?.resource.attributes ?? []), {
    'service.name': 'traffic',
    'service.version': '1.2.3',
    'service.instance.id': 'i',
    'host.name': 'host1.example',
    'k8s.node.name': 'host1',
    'k8s.cluster.name': 'prod "1"',
    'odd"name': 'x',
  });
  assert.deepEqual(request.resourceLogs[0]?.scopeLogs[0], { scope: { name: 'ktrace', version: '1.2.3' }, logRecords: [] });
});
