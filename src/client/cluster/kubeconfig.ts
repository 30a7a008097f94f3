import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { load as loadYaml } from 'js-yaml';
import { KtraceError, messageOf } from '../../util/errors.ts';
import { KubeConfig } from '../../util/kube-library.ts';
import { informPlugin, placePlugins } from './exec-plugin.ts';
import { useProxyOfEnvironment } from './proxy.ts';
import { didYouMean } from './suggest.ts';

export interface KubeOptions {
  /** `--kubeconfig`; undefined: `KUBECONFIG`, `~/.kube/config`, the pod's service account, then a standing lab. */
  kubeconfig?: string | undefined;
  /** `--context`; undefined: the current one. */
  context?: string | undefined;
  /** Names in the kubeconfig; undefined: the context's. */
  cluster?: string | undefined;
  user?: string | undefined;
  /** Whom the API server shall take the user for, and the groups of that one. */
  as?: string | undefined;
  asGroups?: readonly string[] | undefined;
  /** Milliseconds that one request may take; 0: any time; undefined: 15 s. */
  requestTimeoutMs?: number | undefined;
  insecureSkipTlsVerify?: boolean | undefined;
}

/** Where the environment says that a cluster is; every part can be given for a test. */
export interface KubeSurroundings {
  env: Readonly<Record<string, string | undefined>>;
  home: string;
  /** What stands between the files of `KUBECONFIG`: `;` on Windows, else `:`. */
  delimiter: string;
  /** Where a pod's `/var/run/secrets/…` begin; empty but in a test. */
  podRoot: string;
  /** The lab's kubeconfig, when one stands. */
  findLab(): { name: string; kubeconfig: string } | undefined;
  /** Says to the user which cluster was chosen, where that was not theirs. */
  note(text: string): void;
}

export function kubeSurroundings(findLab: KubeSurroundings['findLab'], note: KubeSurroundings['note']): KubeSurroundings {
  return {
    env: process.env,
    home: homedir(),
    delimiter,
    podRoot: '',
    findLab,
    note,
  };
}

const POD_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/**
 * The user's cluster. Throws KTRACE_E_KUBECONFIG (unreadable, malformed, without a cluster) or KTRACE_E_CONTEXT_UNKNOWN.
 */
export function loadKubeConfig(options: KubeOptions, around: KubeSurroundings): KubeConfig {
  const config = readConfig(options, around);
  if (options.context !== undefined) {
    const names = config.getContexts().map(({ name }) => name);
    if (!names.includes(options.context)) {
      throw new KtraceError('KTRACE_E_CONTEXT_UNKNOWN', `The kubeconfig has no context ${JSON.stringify(options.context)}`, {
        hint: didYouMean(options.context, names) ?? contextsHint(names),
      });
    }
    config.setCurrentContext(options.context);
  }
  chooseEnds(config, options);
  if (config.getCurrentCluster() === null) {
    const current = config.getCurrentContext();
    throw new KtraceError(
      'KTRACE_E_KUBECONFIG',
      `The kubeconfig names no cluster${current ? ` for its context ${JSON.stringify(current)}` : ': it has no current context'}`,
      {
        hint: contextsHint(config.getContexts().map(({ name }) => name)),
      },
    );
  }
  if (options.insecureSkipTlsVerify === true) skipVerify(config);
  allowPlainHttp(config);
  useProxyOfEnvironment(config, around.env);
  informPlugin(config);
  impersonate(config, options);
  return config;
}

/** Another cluster or user than the context's: in a context that has both, and the same namespace. */
function chooseEnds(config: KubeConfig, { cluster, user }: KubeOptions): void {
  if (cluster === undefined && user === undefined) return;
  const known = (what: string, name: string | undefined, names: string[]): void => {
    if (name === undefined || names.includes(name)) return;
    const hint = didYouMean(name, names) ?? (names.length === 0 ? undefined : `It has ${names.slice(0, 10).join(', ')}.`);
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig has no ${what} ${JSON.stringify(name)}`, {
      ...(hint === undefined ? {} : { hint }),
    });
  };
  known(
    'cluster',
    cluster,
    config.getClusters().map(({ name }) => name),
  );
  known(
    'user',
    user,
    config.getUsers().map(({ name }) => name),
  );
  const current = config.getContextObject(config.getCurrentContext());
  const chosen = { ...current, cluster: cluster ?? current?.cluster ?? '', user: user ?? current?.user ?? '', name: 'as chosen' };
  config.contexts = [...config.contexts.filter(({ name }) => name !== chosen.name), chosen];
  config.setCurrentContext(chosen.name);
}

function skipVerify(config: KubeConfig): void {
  const cluster = config.getCurrentCluster();
  if (cluster === null) return;
  const { caData: _, caFile: __, ...rest } = cluster;
  config.clusters = config.clusters.map((other) => (other === cluster ? { ...rest, skipTLSVerify: true } : other));
}

/** The library sends the impersonated user that a kubeconfig names, and no groups; requests and websockets alike get their headers here. */
function impersonate(config: KubeConfig, { as, asGroups }: KubeOptions): void {
  if (as === undefined) return;
  const apply = config.applyToHTTPSOptions.bind(config);
  config.applyToHTTPSOptions = async (options) => {
    await apply(options);
    options.headers = {
      ...options.headers,
      'Impersonate-User': as,
      ...(asGroups === undefined ? {} : { 'Impersonate-Group': [...asGroups] }),
    };
  };
}

/** The namespace that the context is in. */
export function contextNamespace(config: KubeConfig): string {
  return config.getContextObject(config.getCurrentContext())?.namespace?.trim() || 'default';
}

function readConfig(options: KubeOptions, around: KubeSurroundings): KubeConfig {
  const { env, home, findLab, note } = around;
  if (options.kubeconfig !== undefined) return readFiles([options.kubeconfig]);
  const files = (env['KUBECONFIG'] ?? '').split(around.delimiter).filter((file) => file !== '');
  if (files.length > 0) {
    const present = files.filter((file) => existsSync(file));
    return readFiles(present.length > 0 ? present : files);
  }
  const own = join(home, '.kube', 'config');
  if (existsSync(own)) return readFiles([own]);
  if (existsSync(around.podRoot + POD_TOKEN) && env['KUBERNETES_SERVICE_HOST'] !== undefined) {
    const config = new KubeConfig();
    config.loadFromCluster(around.podRoot);
    return config;
  }
  const lab = findLab();
  if (lab !== undefined) {
    note(`no kubeconfig: using the lab ${JSON.stringify(lab.name)} (${lab.kubeconfig})`);
    return readFiles([lab.kubeconfig]);
  }
  throw new KtraceError('KTRACE_E_KUBECONFIG', 'There is no kubeconfig: not --kubeconfig, not KUBECONFIG, not ~/.kube/config', {
    hint: 'Give one, or bring up a cluster to try with: ktrace lab up.',
  });
}

function readFiles(files: string[]): KubeConfig {
  const [first, ...others] = files.map(readFile);
  for (const other of others) {
    // As kubectl merges: the first file that says something wins.
    for (const cluster of other.clusters) if (!first?.getCluster(cluster.name)) first?.addCluster(cluster);
    for (const user of other.users) if (!first?.getUser(user.name)) first?.addUser(user);
    for (const context of other.contexts) if (!first?.getContextObject(context.name)) first?.addContext(context);
    if (first !== undefined && !first.currentContext) first.setCurrentContext(other.currentContext);
  }
  return first as KubeConfig;
}

function readFile(file: string): KubeConfig {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig ${file} cannot be read: ${reasonOf(cause)}`, { cause });
  }
  const config = new KubeConfig();
  try {
    config.loadFromFile(file);
    useTokenFiles(config, file, text);
  } catch (cause) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig ${file} is malformed: ${messageOf(cause).split('\n')[0]}`, {
      cause,
    });
  }
  placePlugins(config, file);
  if (config.clusters.length === 0 && config.contexts.length === 0) {
    throw new KtraceError('KTRACE_E_KUBECONFIG', `The kubeconfig ${file} is malformed: it has no clusters and no contexts`);
  }
  return config;
}

/** The library knows `tokenFile` under another name than kubectl. Read again when it may have changed. */
function useTokenFiles(config: KubeConfig, file: string, text: string): void {
  const { users } = loadYaml(text) as { users?: { name?: string; user?: { token?: string; tokenFile?: string } }[] };
  for (const { name, user } of users ?? []) {
    if (!user?.tokenFile || user.token) continue;
    const tokenFile = resolve(dirname(file), user.tokenFile);
    const authProvider = { name: 'tokenFile', config: { tokenFile } };
    config.users = config.users.map((one) => (one.name === name ? { ...one, authProvider } : one));
  }
}

/** The library refuses http:// without `insecure-skip-tls-verify`; kubectl does not, and `kubectl proxy` speaks nothing else. */
function allowPlainHttp(config: KubeConfig): void {
  const cluster = config.getCurrentCluster();
  if (cluster === null || !cluster.server.startsWith('http:')) return;
  config.clusters = config.clusters.map((other) => (other === cluster ? { ...cluster, skipTLSVerify: true } : other));
}

function contextsHint(names: string[]): string {
  return names.length === 0 ? 'It has no contexts.' : `Its contexts are ${names.slice(0, 10).join(', ')}.`;
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'it is a directory';
  return messageOf(error);
}
