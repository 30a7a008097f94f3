import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepOnFailure } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';
import { apply, getJson, kubectl, TOOLS_IMAGE } from './cluster.ts';
import { METRICS_PORT, NAMESPACES, productIsReady } from './product.ts';

export interface Pod {
  name: string;
  uid: string;
  ip: string;
  node: string;
}

/** Of the Service, over UDP. */
export const CLOSED_PORT = 9997;

interface RawPod {
  metadata: { name: string; namespace: string; uid: string; deletionTimestamp?: string };
  spec: { nodeName: string; hostNetwork?: boolean };
  status: { podIP: string; phase: string };
}
interface RawNode {
  metadata: { name: string };
  status: { addresses: { type: string; address: string }[] };
}

/**
 * A namespace of its own with `client` on one node and `server` on another: `server` serves HTTP on 8080 behind a NodePort Service's
 * port 80 (named `http`), and 9999 as well, which no Service knows. The Service's port 9997 (UDP, `closed`) leads to where nobody listens. A privileged pod on every node looks at the node itself.
 * When it is there, so is the product: an earlier test file may just have rolled it.
 */
export class World {
  readonly namespace = `ktrace-test-${randomBytes(3).toString('hex')}`;
  readonly nodes = new Map<string, string>();
  readonly #shells = new Map<string, string>();
  client!: Pod;
  server!: Pod;
  /** Of the Service `server`. */
  clusterIp = '';
  nodePort = 0;

  static async create(): Promise<World> {
    const world = new World();
    keepOnFailure('cluster', (folder) => world.#keep(folder));
    await world.#create();
    return world;
  }

  get nodeA(): string {
    return this.client.node;
  }

  get nodeB(): string {
    return this.server.node;
  }

  /** A command in a pod of this namespace: `deploy/client`, or a pod's name. */
  async inPod(pod: string, ...argv: string[]): Promise<string> {
    return kubectl('-n', this.namespace, 'exec', pod, '--', ...argv);
  }

  /** A command as root on a node: in its network, with its files. */
  onNode(node: string, ...argv: string[]): Promise<string> {
    const shell = this.#shells.get(node) ?? '';
    return this.inPod(shell, 'nsenter', '-t', '1', '-m', '-u', '-n', '-i', '--', ...argv);
  }

  /** The one running pod of a Deployment, once there is but one. */
  podOf(app: string): Promise<Pod> {
    return until(`one pod of ${app}`, async () => {
      const { items } = await getJson<{ items: RawPod[] }>('pods', '-n', this.namespace, '-l', `app=${app}`);
      const [one] = items;
      if (one === undefined || items.length > 1 || one.status.phase !== 'Running') return undefined;
      return { name: one.metadata.name, uid: one.metadata.uid, ip: one.status.podIP, node: one.spec.nodeName };
    });
  }

  /** The interface on the node that leads into a pod. */
  async hostInterface(pod: Pod): Promise<string> {
    const ifindex = (await this.inPod(pod.name, 'cat', '/sys/class/net/eth0/iflink')).trim();
    const links = JSON.parse(await this.onNode(pod.node, 'ip', '-j', 'link')) as { ifindex: number; ifname: string }[];
    const name = links.find((link) => link.ifindex === Number(ifindex))?.ifname;
    if (name === undefined) throw new Error(`${pod.node} has no interface ${ifindex}`);
    return name;
  }

  /** Its namespace goes in its own time; who runs the tests looks that nothing stays. */
  async close(): Promise<void> {
    await kubectl('delete', 'namespace', this.namespace, '--ignore-not-found', '--wait=false');
  }

  async #create(): Promise<void> {
    const { items } = await getJson<{ items: RawNode[] }>('nodes');
    for (const { metadata, status } of items) {
      this.nodes.set(metadata.name, status.addresses.find(({ type }) => type === 'InternalIP')?.address ?? '');
    }
    const [nodeA, nodeB] = [...this.nodes.keys()].sort();
    if (nodeA === undefined || nodeB === undefined) throw new Error('Expected a cluster of at least two nodes');
    await productIsReady();
    await kubectl('create', 'namespace', this.namespace);
    const labels = ['pod-security.kubernetes.io/enforce=privileged', 'ktrace.dev/metrics=true'];
    await kubectl('label', 'namespace', this.namespace, ...labels);
    await apply(this.#manifest(nodeA, nodeB));
    for (const workload of ['deployment/client', 'deployment/server', 'daemonset/shell']) {
      await kubectl('-n', this.namespace, 'rollout', 'status', workload, '--timeout=120s');
    }
    this.client = await this.podOf('client');
    this.server = await this.podOf('server');
    const shells = await getJson<{ items: RawPod[] }>('pods', '-n', this.namespace, '-l', 'app=shell');
    for (const { metadata, spec } of shells.items) this.#shells.set(spec.nodeName, metadata.name);
    const service = await getJson<{ spec: { clusterIP: string; ports: { nodePort: number }[] } }>(
      'service',
      'server',
      '-n',
      this.namespace,
    );
    this.clusterIp = service.spec.clusterIP;
    this.nodePort = service.spec.ports[0]?.nodePort ?? 0;
    await this.#serves();
  }

  /** kube-proxy and DNS learn of a Service in their own time: until both nodes' pods reach it, by its name and on the NodePort. */
  async #serves(): Promise<void> {
    const urls = [
      'http://server/',
      ...[this.nodeA, this.nodeB].map((node) => `http://${this.nodes.get(node)}:${this.nodePort}/`),
    ];
    const ask = ['curl', '-sSf', '-o', '/dev/null', '-m', '5', '--fail-early', ...urls];
    for (const pod of ['deploy/client', 'deploy/server']) {
      await until(`${pod} reaches ${urls.join(', ')}`, () =>
        this.inPod(pod, ...ask).then(
          () => true,
          () => false,
        ),
      );
    }
  }

  /** What the product's pods said, their metrics as the nodes can have them, and what became of all pods. */
  async #keep(folder: string): Promise<void> {
    const keep = async (name: string, said: Promise<string>): Promise<void> =>
      writeFileSync(join(folder, name), await said.catch((error: Error) => error.message));
    const podsOf = (namespace: string) => getJson<{ items: RawPod[] }>('pods', '-n', namespace);
    const pods = (await Promise.all(Object.values(NAMESPACES).map(podsOf))).flatMap(({ items }) => items);
    const shell = [...this.#shells.values()][0] ?? '';
    await Promise.all([
      keep('pods.txt', kubectl('get', 'pods', '-A', '-o', 'wide')),
      keep('events.txt', kubectl('get', 'events', '-A', '--sort-by=.lastTimestamp')),
      ...pods.flatMap(({ metadata: { name, namespace }, status, spec }) => [
        keep(`${name}.log`, kubectl('-n', namespace, 'logs', name)),
        keep(`${name}-before.log`, kubectl('-n', namespace, 'logs', name, '--previous')),
        // A gate's page has its agent's figures as well.
        ...(spec.hostNetwork === true
          ? []
          : [
              keep(
                `${name}-metrics.txt`,
                this.inPod(shell, 'curl', '-sS', '-m', '10', `http://${status.podIP}:${METRICS_PORT}/metrics`),
              ),
            ]),
      ]),
    ]);
  }

  #manifest(nodeA: string, nodeB: string): object[] {
    const { namespace } = this;
    const serve =
      'mkdir -p /w; echo it works >/w/index.html; cd /w; python3 -m http.server 9999 & cd /w && exec python3 -m http.server 8080';
    const readinessProbe = { tcpSocket: { port: 8080 }, periodSeconds: 1 };
    return [
      deployment(namespace, 'client', nodeA, ['sleep', 'infinity'], {}),
      deployment(namespace, 'server', nodeB, ['sh', '-c', serve], { readinessProbe }),
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'server', namespace },
        spec: {
          type: 'NodePort',
          selector: { app: 'server' },
          ports: [
            { name: 'http', port: 80, targetPort: 8080 },
            { name: 'closed', port: CLOSED_PORT, protocol: 'UDP' },
          ],
        },
      },
      {
        apiVersion: 'apps/v1',
        kind: 'DaemonSet',
        metadata: { name: 'shell', namespace },
        spec: {
          selector: { matchLabels: { app: 'shell' } },
          template: {
            metadata: { labels: { app: 'shell' } },
            spec: {
              hostPID: true,
              hostNetwork: true,
              terminationGracePeriodSeconds: 0,
              tolerations: [{ operator: 'Exists' }],
              containers: [container(['sleep', 'infinity'], { securityContext: { privileged: true } })],
            },
          },
        },
      },
    ];
  }
}

function deployment(namespace: string, app: string, node: string, command: string[], more: object): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: app, namespace },
    spec: {
      selector: { matchLabels: { app } },
      template: {
        metadata: { labels: { app, 'ktrace-test': 'yes' } },
        spec: {
          nodeSelector: { 'kubernetes.io/hostname': node },
          terminationGracePeriodSeconds: 0,
          containers: [container(command, more)],
        },
      },
    },
  };
}

function container(command: string[], more: object): object {
  return { name: 'main', image: TOOLS_IMAGE, imagePullPolicy: 'IfNotPresent', command, ...more };
}
