import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { until } from '../../support/until.ts';
import { beside, commandBeside } from './cluster.ts';
import { METRICS_PORT, NAMESPACES, readyPods } from './product.ts';

const MONITORING = join(import.meta.dirname, '..', '..', '..', 'deploy/overlays/monitoring');
/** A series that is there once all alerts were looked at. */
export const EVALUATED = 'ktrace_test:evaluated';
/** As the overlay's PodMonitor calls it: NAMESPACE/NAME. */
const JOB = 'ktrace/ktrace';

/** Why nothing can be asked of a Prometheus here. */
export const NO_PROMETHEUS =
  ['prometheus', 'promtool'].some((program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error !== undefined) &&
  'needs prometheus and promtool: apt-get install prometheus';

export interface Rule {
  alert: string;
  expr: string;
  for?: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
}

/** What Prometheus says to a query: a value for each series. */
export interface Sample {
  metric: Record<string, string>;
  value: [number, string];
}

/** The overlay's alerts, as Prometheus itself takes them: the operator's kind without its shell. */
export function alertGroups(): { groups: { name: string; rules: Rule[] }[] } {
  const [rule] = loadAll(readFileSync(join(MONITORING, 'alerts.yaml'), 'utf8')) as {
    spec: { groups: { name: string; rules: Rule[] }[] };
  }[];
  return rule?.spec ?? { groups: [] };
}

/** Each query of the dashboard with its panel, for all nodes; `$__rate_interval` as short as what is scraped each second allows. */
export function dashboardQueries(): { panel: string; expr: string }[] {
  const { panels } = JSON.parse(readFileSync(join(MONITORING, 'dashboard.json'), 'utf8')) as {
    panels: { title: string; targets?: { expr: string }[] }[];
  };
  return panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }) => ({ panel: title, expr: expr.replaceAll('$node', '.*').replaceAll('$__rate_interval', '15s') })),
  );
}

/** A real Prometheus beside the cluster, which scrapes every gate each second, as the PodMonitor would have it. */
export class Prometheus {
  readonly #folder = mkdtempSync(join(tmpdir(), 'ktrace-prometheus-'));
  readonly #children: ChildProcess[] = [];
  #port = 0;

  static async start(): Promise<Prometheus> {
    const prometheus = new Prometheus();
    try {
      await prometheus.#start();
    } catch (error) {
      await prometheus.close();
      throw error;
    }
    return prometheus;
  }

  async query(expr: string): Promise<Sample[]> {
    const { stdout } = await beside(['promtool', 'query', 'instant', '--format=json', `http://127.0.0.1:${this.#port}`, expr]);
    return JSON.parse(stdout) as Sample[];
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const hasEnded = new Promise((resolve) => child.once('close', resolve));
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGTERM');
      await hasEnded;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #start(): Promise<void> {
    const gates = await readyPods('gate');
    const targets = [];
    for (const { name, node } of gates) {
      const forward = ['kubectl', '-n', NAMESPACES.gate, 'port-forward', `pod/${name}`, `:${METRICS_PORT}`];
      const [, address = ''] = await this.#run(/Forwarding from (127\.0\.0\.1:\d+)/, ...forward);
      targets.push({ targets: [address], labels: { node } });
    }
    this.#port = await freePort();
    const rules = join(this.#folder, 'rules.yaml');
    const config = join(this.#folder, 'prometheus.yaml');
    // A group's rules are evaluated one after the other.
    const groups = alertGroups().groups.map((group) => ({
      ...group,
      rules: [...group.rules, { record: EVALUATED, expr: 'vector(1)' }],
    }));
    writeFileSync(rules, JSON.stringify({ groups }));
    const scraped = { job_name: JOB, scrape_interval: '1s', static_configs: targets };
    writeFileSync(
      config,
      JSON.stringify({ global: { evaluation_interval: '1s' }, rule_files: [rules], scrape_configs: [scraped] }),
    );
    const data = `--storage.tsdb.path=${join(this.#folder, 'data')}`;
    await this.#run(
      /Server is ready to receive web requests/,
      'prometheus',
      ...[`--config.file=${config}`, data, `--web.listen-address=127.0.0.1:${this.#port}`],
    );
    await until(`a scrape of each of ${gates.length} gates`, async () => (await this.query('up == 1')).length === gates.length);
  }

  /** Starts it, and waits until it has said what is looked for. */
  async #run(wanted: RegExp, ...argv: string[]): Promise<RegExpExecArray> {
    const [program = '', ...args] = commandBeside(argv);
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#children.push(child);
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        said = `${said}${text}`.slice(-10_000);
      });
    return until(`${argv[0]}: ${wanted.source}`, () => {
      if (child.exitCode !== null) throw new Error(`${argv.join(' ')} ended: ${said}`);
      return wanted.exec(said) ?? undefined;
    });
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}
