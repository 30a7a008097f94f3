import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { agentSocket } from '../../../src/lab/agents.ts';
import type { Lab } from '../../../src/lab/lab.ts';
import { logTail } from '../../../src/lab/machine/processes.ts';
import { removeLab } from '../../../src/lab/machine/remove.ts';
import { FORBIDDEN_PORT } from '../../../src/lab/plan/plan.ts';
import { unixGet } from '../../agent/serve/unix-get.ts';
import { type LogRecord, type LogsRequest, plain, recordsOf } from '../../export/receiver.ts';
import { before } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { labUp, randomLabName, SKIP } from '../support/lab-fixture.ts';

const COLLECTOR = process.env['KTRACE_OTELCOL'];
const DNS = 'coredns-5d78c9869d-7xk2p';
const MASTER = 'redis-master-343230949-2qrp7';
const PORT = 4318;

/** How each of them is started, given the file that it writes requests to. */
const RECEIVERS: Record<string, { skip: string | false; argv(file: string): string[] }> = {
  'a receiver of the test': {
    skip: SKIP,
    argv: (file) => [
      process.execPath,
      ...['--import', 'tsx', fileURLToPath(new URL('../support/otlp-receiver.ts', import.meta.url)), file],
    ],
  },
  'the OpenTelemetry Collector': {
    skip:
      SKIP || (COLLECTOR === undefined && 'needs KTRACE_OTELCOL, the path of a collector (docs/export.md tells how to build it)'),
    argv(file) {
      const config = `${file}.yaml`;
      writeFileSync(config, JSON.stringify(collectorConfig(file)));
      return [COLLECTOR ?? '', '--config', `file:${config}`];
    },
  },
};

for (const [what, { skip, argv }] of Object.entries(RECEIVERS)) {
  // A skipped suite would not be counted among what is skipped.
  if (skip !== false) {
    test(`exporting to ${what}`, { skip });
    continue;
  }
  suite(`exporting to ${what}`, () => {
    const name = randomLabName();
    const directory = mkdtempSync(join(tmpdir(), 'ktrace-export-'));
    const file = join(directory, 'logs.jsonl');
    let lab: Lab;
    let receiver: ChildProcess;

    const records = (): (LogRecord & { node: unknown; fields: Record<string, unknown> })[] =>
      requestsIn(file).flatMap((one) => {
        const node = plain(one.resourceLogs[0]?.resource.attributes ?? [])['k8s.node.name'];
        return recordsOf(one).map((record) => ({ ...record, node, fields: plain(record.attributes) }));
      });

    async function startReceiver(): Promise<void> {
      receiver = spawn('nsenter', [`--net=/run/netns/${lab.namespace(`pod/${DNS}`)}`, ...argv(file)], { stdio: 'ignore' });
      const isListening = async () => (await lab.exec(`pod/${DNS}`, ['ss', '-Hltn'])).includes(`:${PORT} `);
      await until('the receiver listens', isListening);
    }

    before(async () => {
      // In a pod's network, so that the agents see their own traffic to it.
      lab = await labUp({ name, bound: true, agents: false });
      await startReceiver();
      const flags = [
        '--otlp-endpoint',
        `http://${lab.pod(DNS).ip}:${PORT}`,
        '--export-events',
        'flow-open,flow-update,flow-close,drop',
      ];
      for (const node of lab.nodes) await lab.startAgent(node.name, flags);
    });
    after(async () => {
      receiver?.kill('SIGKILL');
      await removeLab(name);
      rmSync(directory, { recursive: true });
    });

    test('a flow through a Service comes with the pods of both ends, the Service and its chains', async () => {
      const isIt = ({ eventName, fields, node }: ReturnType<typeof records>[number]): boolean =>
        node === 'host1' &&
        eventName === 'ktrace.flow' &&
        fields['ktrace.flow.state'] === 'close' &&
        fields['ktrace.destination.k8s.service.name'] === 'redis-master' &&
        fields['network.type'] === 'ipv4' &&
        fields['network.transport'] === 'tcp';
      const { fields, severityText, body } = await until('the flow', () => records().find(isIt));
      assert.equal(severityText, 'INFO');
      assert.match(String(fields['ktrace.source.k8s.pod.name']), /^frontend-/);
      assert.equal(fields['ktrace.source.k8s.namespace.name'], 'default');
      assert.equal(fields['ktrace.source.k8s.owner'], 'Deployment/frontend');
      assert.equal(fields['destination.address'], '10.96.0.63');
      assert.equal(fields['destination.port'], 6379);
      assert.equal(fields['ktrace.destination.k8s.pod.name'], MASTER);
      assert.equal(fields['ktrace.destination.translated.address'], lab.pod(MASTER).ip);
      assert.match((fields['ktrace.nat.chains'] as string[]).join(), /^KUBE-SVC-\w+,KUBE-SEP-\w+$/);
      assert.ok(Number(fields['ktrace.flow.request.packets']) > 0 && Number(fields['ktrace.flow.reply.bytes']) > 0);
      assert.match(
        body.stringValue ?? '',
        /^tcp default\/frontend-\S+ -> default\/redis-master:6379 => default\/redis-master-\S+ closed: /,
      );
    });

    test('a drop comes as a warning with the reason and the place', async () => {
      const isIt = ({ eventName, fields }: LogRecord & { fields: Record<string, unknown> }): boolean =>
        eventName === 'ktrace.drop' && fields['ktrace.drop.reason'] === 'NETFILTER_DROP';
      const { fields, severityNumber } = await until('the drop', () => records().find(isIt));
      assert.equal(severityNumber, 13);
      assert.equal(fields['destination.port'], FORBIDDEN_PORT);
      assert.match(String(fields['ktrace.drop.symbol']), /^\w+$/);
    });

    test('the agents on the way of the export see it, and export none of it', async () => {
      const own = async (): Promise<number> =>
        metric(await unixGet(agentSocket(lab.directory, 'host2'), '/metrics'), 'ktrace_export_own_traffic_total');
      await until('export traffic seen', async () => (await own()) > 0);
      assert.deepEqual(
        records().filter(({ fields }) => fields['destination.port'] === PORT || fields['source.port'] === PORT),
        [],
      );
    });

    test('a collector that was away gets what waited for it', async () => {
      const ended = once(receiver, 'exit');
      // By SIGTERM the collector writes down what it has answered for.
      receiver.kill('SIGTERM');
      await ended;
      const ask = () => unixGet(agentSocket(lab.directory, 'host1'), '/metrics');
      await until('it is missed', async () => metric(await ask(), 'ktrace_export_requests_total{outcome="failed"}') > 0);
      const before = metric(await ask(), 'ktrace_export_records_exported_total');
      await startReceiver();
      await until('it goes on', async () => metric(await ask(), 'ktrace_export_records_exported_total') > before);
    });

    test('what the agents say they exported is what is there, each record once, and nothing was lost', async () => {
      for (const node of lab.nodes) {
        await lab.stopAgent(node.name);
        const said = JSON.parse(logLine(lab, node.name)) as { taken: number; exported: number; lost: Record<string, number> };
        assert.deepEqual(said.lost, { queue_full: 0, rejected: 0, gave_up: 0, shutdown: 0 });
        assert.equal(said.exported, said.taken);
        assert.ok(said.taken > 0);
        const there = await until('all of it is there', () => {
          const found = records().filter((record) => record.node === node.name);
          return found.length >= said.exported && found;
        });
        assert.equal(there.length, said.exported);
        assert.equal(new Set(there.map(({ fields }) => fields['log.record.uid'])).size, there.length);
      }
    });
  });
}

function collectorConfig(file: string): object {
  return {
    receivers: { otlp: { protocols: { http: { endpoint: `0.0.0.0:${PORT}` } } } },
    exporters: { file: { path: file, append: true, flush_interval: '200ms' } },
    service: {
      telemetry: { metrics: { level: 'none' } },
      pipelines: { logs: { receivers: ['otlp'], exporters: ['file'] } },
    },
  };
}

/** Whole lines alone: the last one may be under way. */
function requestsIn(file: string): LogsRequest[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as LogsRequest);
}

function logLine(lab: Lab, node: string): string {
  return (
    logTail(lab.directory, `agent-${node}`, 100)
      .split('\n')
      .findLast((line) => line.includes('exporting has ended')) ?? '{}'
  );
}

function metric(text: string, name: string): number {
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return Number(line?.slice(name.length));
}
