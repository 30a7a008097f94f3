import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { GATE_PORT } from '../../src/protocol/constants.ts';
import { before } from '../support/evidence.ts';
import { until, untilHolds } from '../support/until.ts';
import type { Question } from './support/ask-agents.ts';
import { Asker } from './support/asker.ts';
import { SKIP } from './support/cluster.ts';
import { readyPods } from './support/product.ts';
import { alertGroups, dashboardQueries, EVALUATED, NO_PROMETHEUS, Prometheus, type Rule } from './support/prometheus.ts';
import { type Followed, followWorld } from './support/suite.ts';

suite('monitoring by a real Prometheus', { skip: SKIP || NO_PROMETHEUS }, () => {
  let asker: Asker;
  let prometheus: Prometheus;
  let followed: Followed;

  before(async () => {
    asker = new Asker();
    followed = await followWorld('--packets');
    prometheus = await Prometheus.start();
  });

  after(async () => {
    await prometheus?.close();
    await followed?.close();
    await asker?.close();
  });

  test('every query of the dashboard has an answer while pods are followed', async () => {
    const queries = dashboardQueries();
    assert.ok(queries.length >= 20, `only ${queries.length} queries`);
    const { world } = followed;
    await refusals();
    await untilHolds('every panel has its lines', async () => {
      await world.inPod(world.client.name, 'curl', '-s', '-o', '/dev/null', `http://${world.clusterIp}/`);
      const answers = await Promise.all(
        queries.map(async ({ panel, expr }) => ({ panel, expr, samples: await prometheus.query(expr) })),
      );
      assert.deepEqual(
        answers.filter(({ samples }) => samples.length === 0).map(({ panel, expr }) => `${panel}: ${expr}`),
        [],
      );
      const sumOf = (title: string) =>
        answers
          .filter(({ panel }) => panel === title)
          .flatMap(({ samples }) => samples)
          .reduce((sum, { value }) => sum + Number(value[1]), 0);
      const nodes = (await readyPods('agent')).length;
      assert.equal(sumOf('Nodes with an agent'), nodes);
      assert.equal(sumOf('Nodes without'), 0);
      // One follow has a session on each node.
      assert.ok(sumOf('Followers') >= nodes);
      for (const panel of [
        'Interfaces attached',
        'Matched packets, by outcome',
        'Sightings',
        'Events told, by kind',
        'Memory',
        'CPU',
      ])
        assert.ok(sumOf(panel) > 0, panel);
      assert.ok(sumOf('Connections') >= nodes);
      assert.ok(sumOf('Refused, by code') > 0);
    });
  });

  test('no alert is about to fire on a cluster where all is well', async () => {
    await until('the rules are evaluated', async () => (await prometheus.query(EVALUATED)).length > 0);
    const alerts = await prometheus.query('ALERTS');
    assert.deepEqual(
      alerts.map(({ metric }) => metric),
      [],
    );
  });

  /** What the panel of refusals shows: of the gate, and of an agent. */
  async function refusals(): Promise<void> {
    const [node] = (await readyPods('gate')).map((gate) => gate.node);
    const target = { kind: 'namespace', namespace: followed.world.namespace, name: followed.world.namespace } as const;
    const questions: Question[] = [
      { ask: 'page', node: node ?? '', port: GATE_PORT, path: '/nothing' },
      { ask: 'stream', node: node ?? '', target, wanted: [], forMs: 1 },
    ];
    // A counter that begins at its first count has no rate before the second.
    await asker.ask(questions);
    await asker.ask(questions);
  }
});

/** A minute each: what is scraped, when it is looked at, and with which labels the alert then fires; before that it must not. */
const FIRES: Record<
  string,
  { series: string; values: string; quietAt: string; firesAt: string; labels: Record<string, string> }
> = {
  KtraceAgentDown: {
    series: 'ktrace_gate_agent_up{node="a"}',
    values: '1x3 0x20',
    quietAt: '8m',
    firesAt: '10m',
    labels: { node: 'a' },
  },
  KtraceNotScraped: {
    series: 'ktrace_gate_agent_up{node="a"}',
    values: '1x3 _x40',
    quietAt: '20m',
    firesAt: '25m',
    labels: {},
  },
  KtraceLosesInTheKernel: {
    series: 'ktrace_kernel_outcomes_total{node="a",outcome="lost"}',
    values: '0+7x40',
    quietAt: '5m',
    firesAt: '15m',
    labels: { node: 'a' },
  },
  KtraceRecordingLoses: {
    series: 'ktrace_recorder_records_lost_total{node="a",reason="disk"}',
    values: '0+7x40',
    quietAt: '5m',
    firesAt: '15m',
    labels: { node: 'a', reason: 'disk' },
  },
  KtraceNamesOld: {
    series: 'ktrace_api_stale{node="a"}',
    values: '0x3 1x30',
    quietAt: '12m',
    firesAt: '15m',
    labels: { node: 'a' },
  },
  KtraceFaults: {
    series: 'ktrace_agent_faults_total{node="a",place="names"}',
    values: '0x5 1x40',
    quietAt: '3m',
    firesAt: '8m',
    labels: { node: 'a', place: 'names' },
  },
};

suite('the alerts', { skip: NO_PROMETHEUS }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'ktrace-alerts-'));
  const rules = alertGroups().groups.flatMap(({ rules: those }) => those);

  before(() => writeFileSync(join(folder, 'rules.json'), JSON.stringify(alertGroups())));
  after(() => rmSync(folder, { recursive: true, force: true }));

  test('each has a case below', () => {
    assert.deepEqual(rules.map(({ alert }) => alert).toSorted(), Object.keys(FIRES).toSorted());
  });

  for (const rule of rules) {
    test(`${rule.alert} fires when it should, and not before`, async () => {
      const tested = join(folder, `${rule.alert}.json`);
      writeFileSync(tested, JSON.stringify(caseOf(rule)));
      await promisify(execFile)('promtool', ['test', 'rules', tested]);
    });
  }

  function caseOf({ alert, labels }: Rule): object {
    const wanted = FIRES[alert];
    assert.ok(wanted);
    const at = (time: string, alerts: object[]) => ({ alertname: alert, eval_time: time, exp_alerts: alerts });
    return {
      rule_files: [join(folder, 'rules.json')],
      evaluation_interval: '1m',
      tests: [
        {
          interval: '1m',
          input_series: [{ series: wanted.series, values: wanted.values }],
          // Annotations are compared as well, where they are given: their labels must be filled in.
          alert_rule_test: [
            at(wanted.quietAt, []),
            at(wanted.firesAt, [{ exp_labels: { ...labels, ...wanted.labels }, exp_annotations: filledIn(alert) }]),
          ],
        },
      ],
    };
  }

  function filledIn(alert: string): Record<string, string> {
    const annotations = rules.find((rule) => rule.alert === alert)?.annotations ?? {};
    const values = FIRES[alert]?.labels ?? {};
    const fill = (text: string) => text.replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, name: string) => values[name] ?? '');
    return Object.fromEntries(Object.entries(annotations).map(([key, text]) => [key, fill(text)]));
  }
});
