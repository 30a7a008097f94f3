import { hostname } from 'node:os';
import { DEFAULT_SOCKET } from '../protocol/constants.ts';
import { badArgument } from '../util/errors.ts';
import { LOG_LEVELS, type LogLevel } from '../util/log.ts';
import { checkSocketPath, type Environment, type Flags, readSettings } from '../util/settings.ts';
import { type ExportConfig, readExportConfig } from './export-config.ts';
import { UNLOAD_AFTER_MS } from './pipeline/loading.ts';
import { type RecordConfig, readRecordConfig } from './record/record-config.ts';

export interface AgentConfig {
  /** This node's name as Kubernetes has it. */
  node: string;
  /** Path of the unix socket to serve. */
  socket: string;
  /** Undefined: the pod's service account where there is one, else the user's default kubeconfig. */
  kubeconfig: string | undefined;
  /** Folder of the service account's `token` and `ca.crt`; undefined: where Kubernetes mounts it. */
  serviceAccount: string | undefined;
  logLevel: LogLevel;
  /** Size of the kernel's ring buffer: a power of two. */
  ringBytes: number;
  /** Sightings a second that are emitted for one pod (25 times as many with `--packets`); 0: no bound. */
  podRate: number;
  /** Entries of the kernel's flow table: one for each direction of a conversation, and of its translations. */
  flowEntries: number;
  /** `auto`: tcx where the kernel has it, else clsact. */
  attach: 'auto' | 'tcx' | 'clsact';
  /** Programs and maps that nobody has followed for this time are unloaded; 0: never. */
  unloadAfterMs: number;
  /** Programs on the kernel's own functions; `auto`: fentry where the kernel allows it, else kprobes. */
  probes: 'auto' | 'fentry' | 'kprobe' | 'none';
  /** Expedited grace periods while programs are attached; `auto`: but on machines with isolated CPUs. */
  rcuExpedited: 'auto' | 'on' | 'off';
  /** How this node's kube-proxy writes its rules, which decides the chains of translations; `auto`: as kube-proxy answers. */
  proxyMode: 'auto' | 'iptables' | 'nftables' | 'ipvs' | 'none';
  /** Path of the BPF object; undefined: the one that came with this ktrace. */
  object: string | undefined;
  /** Connections served at the same time. */
  maxClients: number;
  /** `off`: every client that reaches the socket sees everything; for debugging. */
  authorization: 'on' | 'off';
  /** It was started by a client for itself: it ends with its standard input. */
  withParent: boolean;
  /** Undefined: nothing is recorded. */
  record: RecordConfig | undefined;
  /** Undefined: nothing is exported. */
  export: ExportConfig | undefined;
  /** Added to this node's clock in all events, so that tests can have nodes whose clocks disagree. */
  clockSkewMs: number;
  /** How often it is asked again whether who streams still may; undefined: as by default. Tests do not wait that long. */
  recheckMs: number | undefined;
  /** Events that are kept for a client that does not read; undefined: as by default. Tests do not send so many. */
  queueEvents: number | undefined;
}

const MIN_RING_BYTES = 4096;
const DEFAULT_POD_RATE = 2000;
const DEFAULT_FLOW_ENTRIES = 65_536;
const MAX_RING_BYTES = 1024 * 1024 * 1024;

/**
 * The agent's configuration out of flags (`node`, `socket`, `kubeconfig`, `logLevel`, `ringBytes`, `podRate`, `flowEntries`, `attach`, `unloadAfter`, `probes`, `rcuExpedited`, `proxyMode`, `object`,
 * `maxClients`, `authorization`, `record`, `recordBytes`, `recordHours`, `otlpEndpoint`, `exportTarget`, `exportEvents`, `clockSkewMs`, `recheckMs`, `queueEvents`, `incidentAfterMs`) and the variables `KTRACE_NODE`, `KTRACE_SOCKET`,
 * `KTRACE_LOG_LEVEL` and so on. A flag wins.
 * @throws KtraceError KTRACE_E_ARGUMENT, exit code 2
 */
export function parseAgentConfig(flags: Flags, env: Environment = process.env): AgentConfig {
  const settings = readSettings(flags, env);
  const node = settings.text('node') ?? hostname();
  if (!/^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/.test(node)) {
    throw badArgument(settings.names('node'), "a Kubernetes node's name", node);
  }
  const ringBytes = settings.integer('ringBytes', MIN_RING_BYTES, MAX_RING_BYTES) ?? 8 * 1024 * 1024;
  if ((ringBytes & (ringBytes - 1)) !== 0) throw badArgument(settings.names('ringBytes'), 'a power of two', ringBytes);
  const unloadAfter = settings.integer('unloadAfter', 0, 86_400);
  return {
    node,
    socket: checkSocketPath(settings.names('socket'), settings.text('socket') ?? DEFAULT_SOCKET),
    kubeconfig: settings.text('kubeconfig'),
    serviceAccount: settings.text('serviceAccount'),
    logLevel: settings.oneOf('logLevel', LOG_LEVELS) ?? 'info',
    ringBytes,
    podRate: settings.integer('podRate', 0, 1_000_000) ?? DEFAULT_POD_RATE,
    flowEntries: settings.integer('flowEntries', 1024, 1_048_576) ?? DEFAULT_FLOW_ENTRIES,
    attach: settings.oneOf('attach', ['auto', 'tcx', 'clsact']) ?? 'auto',
    unloadAfterMs: unloadAfter === undefined ? UNLOAD_AFTER_MS : unloadAfter * 1000,
    probes: settings.oneOf('probes', ['auto', 'fentry', 'kprobe', 'none']) ?? 'auto',
    rcuExpedited: settings.oneOf('rcuExpedited', ['auto', 'on', 'off']) ?? 'auto',
    proxyMode: settings.oneOf('proxyMode', ['auto', 'iptables', 'nftables', 'ipvs', 'none']) ?? 'auto',
    object: settings.text('object'),
    maxClients: settings.integer('maxClients', 1, 1024) ?? 32,
    authorization: settings.oneOf('authorization', ['on', 'off']) ?? 'on',
    withParent: flags['withParent'] === true,
    record: readRecordConfig(settings),
    export: readExportConfig(settings, env),
    clockSkewMs: settings.integer('clockSkewMs', -3_600_000, 3_600_000) ?? 0,
    recheckMs: settings.integer('recheckMs', 1000, 30_000),
    queueEvents: settings.integer('queueEvents', 16, 8192),
  };
}
