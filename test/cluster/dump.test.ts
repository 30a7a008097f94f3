import assert from 'node:assert/strict';
import { after, suite, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { endsOf } from '../../src/event/ends.ts';
import type { FlowEvent, PacketEvent } from '../../src/event/types.ts';
import { before } from '../support/evidence.ts';
import { until } from '../support/until.ts';
import { apply, ktrace, kubectl, SKIP, TOOLS_IMAGE } from './support/cluster.ts';
import { agentsRecord } from './support/product.ts';
import { type Pod, World } from './support/world.ts';

interface ListedIncident {
  id: string;
  node: string;
  pod: { name: string; uid: string };
  causes: { text: string }[];
}

interface Dumped {
  code: number | null;
  stderr: string;
  records: (PacketEvent | FlowEvent)[];
}

/** All but the last are over before the API server has told their addresses. */
const ASK = 'until curl -sf -m 5 -o /dev/null http://server/; do sleep 1; done';
const CRASHES = {
  failing: { next: 'exit 1', cause: /^container main ended with exit code 1$/ },
  // More than its limit.
  greedy: { next: 'exec python3 -c "bytearray(300 << 20)"', cause: /^container main was OOM-killed$/ },
  'not-ready': { next: 'exec sleep infinity', cause: /^not ready for \d+ s, until it was removed$/ },
};
/** From when it was created: until it runs, and for so long that it counts as trouble. */
const NOT_READY_MS = 15_000;

/** Kills a command of a pod, not the same of another pod on the node. It fails where there is none. */
function killOf({ name }: Pod, command: string): string {
  const own = `if grep -zqx HOSTNAME=${name} /proc/$pid/environ; then kill -9 $pid && killed=0; fi`;
  return `killed=1; for pid in $(pgrep -f '${command}'); do ${own}; done; exit $killed`;
}

function crashes(namespace: string, nodeName: string): object[] {
  return Object.entries(CRASHES).map(([name, { next }]) => {
    const container = {
      name: 'main',
      image: TOOLS_IMAGE,
      imagePullPolicy: 'IfNotPresent',
      command: ['sh', '-c', `${ASK}; ${next}`],
      resources: { limits: { memory: '48Mi' } },
      ...(name === 'not-ready' ? { readinessProbe: { exec: { command: ['false'] }, periodSeconds: 1 } } : {}),
    };
    const spec = { nodeName, restartPolicy: 'Never', terminationGracePeriodSeconds: 0, containers: [container] };
    return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec };
  });
}

suite('what a real cluster has recorded', { skip: SKIP }, () => {
  let world: World;
  let dead: Pod;
  let born: Pod;
  let startedMs = 0;

  before(async () => {
    await agentsRecord();
    world = await World.create();
    dead = world.server;
    await apply(crashes(world.namespace, world.nodeA));
    startedMs = Date.now();
    await until('the pod is recorded', async () => hasService((await dump(`pod/${dead.name}`)).records, world));
    // Its container ends with an error (137); then the Deployment gets another pod for it.
    await world.onNode(dead.node, 'sh', '-c', killOf(dead, 'http.server 8080'));
    await kubectl('-n', world.namespace, 'delete', 'pod', dead.name, '--grace-period=0', '--force');
    born = await until('another pod', async () => {
      const pod = await world.podOf('server');
      return pod.uid === dead.uid ? undefined : pod;
    });
    await until('it is recorded', async () => (await dump(`pod/${born.name}`)).records.length > 0);
  });
  after(async () => {
    await world?.close();
  });

  async function dump(...argv: string[]): Promise<Dumped> {
    const asked = ktrace('dump', '-n', world.namespace, '-o', 'json', ...argv);
    const { code } = await asked.ended;
    const records = asked.events.filter((event) => event.kind === 'packet' || event.kind === 'flow');
    return { code, stderr: asked.stderr, records };
  }

  test('a pod that crashed and was replaced is told by its old name, and nothing of its successor', async () => {
    const { code, records, stderr } = await dump(`pod/${dead.name}`);
    assert.equal(code, 0, stderr);
    assert.ok(hasService(records, world));
    const uids = records.flatMap((event) => endsOf(event).flatMap(({ pod }) => pod?.uid ?? []));
    assert.ok(uids.includes(dead.uid) && !uids.includes(born.uid));
    // What the client's node saw of it is there as well, joined.
    assert.ok(
      records.some((event) => event.kind === 'packet' && event.nodes.includes(world.nodeA) && event.nodes.includes(world.nodeB)),
    );
  });

  test('pods that fail, are OOM-killed or never ready are listed as incidents, and their records are kept', async () => {
    const { namespace, nodeA } = world;
    const remove = (name: string) => kubectl('-n', namespace, 'delete', 'pod', name, '--ignore-not-found', '--wait=false');
    for (const [name, { cause }] of Object.entries(CRASHES)) {
      if (name === 'not-ready') {
        await setTimeout(Math.max(0, startedMs + NOT_READY_MS - Date.now()));
        await remove(name);
      }
      const incident = await until(`${name} is listed`, async () => {
        const asked = ktrace('dump', '-n', namespace, '-o', 'json', '--incidents');
        await asked.ended;
        return (asked.events as unknown as ListedIncident[]).find(({ pod }) => pod.name === name);
      });
      await remove(name);
      assert.equal(incident.node, nodeA);
      assert.equal(incident.causes.length, 1);
      assert.match(incident.causes[0]?.text ?? '', cause);
      const kept = await until(`the records of ${name} are kept`, async () => {
        const { records } = await dump(`incident/${incident.id}`);
        return hasService(records, world) && records;
      });
      for (const event of kept)
        assert.ok(
          endsOf(event).some(({ pod }) => pod?.uid === incident.pod.uid),
          JSON.stringify(event),
        );
    }
  });

  test('a pod that never was is told with those that were', async () => {
    const { code, stderr } = await dump('pod/nobody');
    assert.equal(code, 1);
    assert.match(stderr, /KTRACE_E_NOT_RECORDED/);
    assert.ok(stderr.includes(`${world.namespace}/`));
  });
});

function hasService(records: Dumped['records'], { namespace }: World): boolean {
  return records.some((event) => event.nat?.some(({ service }) => service === `${namespace}/server:http`) === true);
}
