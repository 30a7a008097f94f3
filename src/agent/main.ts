import { readFileSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type KubeAccess, openApi } from '../kube/api.ts';
import { inClusterAccess } from '../kube/in-cluster.ts';
import { openReviewer } from '../kube/reviews.ts';
import { startKube } from '../kube/start.ts';
import { loadNative } from '../native/load.ts';
import { KtraceError, messageOf } from '../util/errors.ts';
import { createLog, type Logger } from '../util/log.ts';
import { type Authorize, allowAll, createAuthorizer } from './authorizer.ts';
import type { AgentConfig } from './config.ts';
import { Interfaces } from './interfaces.ts';
import { kubeNaming } from './naming.ts';
import { Pipeline } from './pipeline.ts';
import { startServer } from './server.ts';
import { readSymbols } from './symbols.ts';
import { Tracer } from './tracer.ts';

/**
 * Runs the agent until SIGTERM or SIGINT; resolves when all is taken down.
 * @throws KtraceError when the kernel side cannot be loaded, the socket cannot be served, or the kubeconfig cannot be read
 */
export async function runAgent(config: AgentConfig): Promise<void> {
  const log = createLog('agent', config.logLevel).child({ node: config.node });
  const stopped = stopSignal();
  const native = loadNative();
  const tracer = new Tracer({
    native,
    objectPath: config.object ?? defaultObject(),
    netns: statSync('/proc/self/ns/net').ino,
    ringBytes: config.ringBytes,
    attach: config.attach,
  });
  const closing = new AbortController();
  const closers: (() => void | Promise<void>)[] = [() => tracer.close(), () => closing.abort()];
  try {
    const interfaces = new Interfaces({ native, tracer, log });
    closers.push(() => interfaces.close());
    const access = await kubeAccess(config);
    const kube = startKube({ kubeConfig: access, node: config.node, log: plainLog(log) });
    closers.push(() => kube.close());
    const naming = kubeNaming(kube);
    const { node, clockSkewMs } = config;
    const pipeline = new Pipeline({ node, native, tracer, interfaces, naming, symbols: readSymbols(), log, clockSkewMs });
    closers.push(() => pipeline.close());
    interfaces.onOwnAddressesChange = () => {
      kube.index.setLocalAddresses([...interfaces.ownAddresses]);
      pipeline.resolveAgain();
    };
    interfaces.onOwnAddressesChange();
    kube.onChange(() => {
      interfaces.setNodeAddresses(kube.index.findNode(config.node)?.ips ?? []);
      pipeline.resolveAgain();
    });
    kube.onNotice((notice) => {
      if (notice.code === 'KTRACE_N_API_BACK') pipeline.withdraw('KTRACE_N_API_UNREACHABLE', notice);
      else pipeline.notice(notice);
    });
    const server = await startServer({
      feed: pipeline,
      socketPath: config.socket,
      version: version(),
      log,
      authorize: config.authorization === 'on' ? authorizer(access, closing.signal, log) : authorizationOff(pipeline, log),
      limits: { clients: config.maxClients },
    });
    closers.push(() => server.close());
    log.info({ socket: config.socket, hooks: pipeline.hooks(), instance: pipeline.instance }, 'agent is up');
    log.info({ signal: await stopped }, 'agent is going down');
  } finally {
    for (const close of closers.reverse()) {
      try {
        await close();
      } catch (error) {
        log.error({ err: messageOf(error) }, 'something could not be taken down');
      }
    }
  }
}

/** Two questions one after the other take less than a client waits for its answer. */
const REVIEW_TIMEOUT_MS = 2_000;

function authorizer(access: KubeAccess, signal: AbortSignal, log: Logger): Authorize {
  return createAuthorizer(openReviewer(openApi(access), signal, REVIEW_TIMEOUT_MS), log);
}

function authorizationOff(pipeline: Pipeline, log: Logger): Authorize {
  const text = 'this agent runs with --authorization off: whoever reaches it sees everything';
  log.warn(text);
  pipeline.notice({ code: 'KTRACE_N_AUTHORIZATION_OFF', level: 'warn', text });
  return allowAll;
}

/** Reading kubeconfigs takes a package of 88 MB: an agent that is a pod reads its service account itself. */
async function kubeAccess({ kubeconfig: path, serviceAccount }: AgentConfig): Promise<KubeAccess> {
  if (path === undefined && process.env['KUBERNETES_SERVICE_HOST'] !== undefined) {
    return inClusterAccess(serviceAccount === undefined ? {} : { root: serviceAccount });
  }
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  try {
    if (path === undefined) config.loadFromDefault();
    else config.loadFromFile(path);
  } catch (error) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig ${path ?? ''} cannot be read: ${messageOf(error)}`, {
      cause: error,
      hint: 'Give the agent a kubeconfig by --kubeconfig, or run it as a pod with a service account.',
    });
  }
  return config;
}

function plainLog(log: Logger): { info(text: string): void; warn(text: string): void } {
  return { info: (text) => log.info(text), warn: (text) => log.warn(text) };
}

function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
}

/** The object that was built with this ktrace, beside `src/` or `dist/`. */
function defaultObject(): string {
  return fileURLToPath(new URL('../../build/bpf/ktrace.bpf.o', import.meta.url));
}

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  return version;
}
