import { type Command, Option } from '@commander-js/extra-typings';
import type { Done } from '../options/command.ts';

/** `ktrace agent`: runs until it is told to stop. */
export function addAgent(program: Command, done: Done): void {
  program
    .command('agent')
    .description('the process that a DaemonSet runs on every node (root); each flag also as KTRACE_…')
    .option('--node <name>', "this node's name in Kubernetes (KTRACE_NODE; default: the host's name)")
    .option('--socket <path>', 'the unix socket to serve')
    .option('--kubeconfig <file>', "instead of the pod's service account")
    .option('--log-level <level>', 'fatal, error, warn, info, debug, trace or silent')
    .option('--ring-bytes <bytes>', "size of the kernel's ring buffer, a power of two")
    .option('--attach <how>', 'auto, tcx or clsact')
    .option('--probes <how>', 'on the kernel’s own functions: auto, fentry, kprobe or none')
    .option(
      '--rcu-expedited <when>',
      'expedited RCU grace periods while programs are attached: auto (not with isolated CPUs), on or off',
    )
    .option('--proxy-mode <mode>', 'how kube-proxy writes its rules: auto (as it says itself), iptables, nftables, ipvs or none')
    .option('--object <file>', 'the BPF object to load')
    .option('--flow-entries <count>', "entries of the kernel's flow table; default: 65536")
    .option(
      '--unload-after <seconds>',
      'how long programs and maps stay loaded that nobody follows by; 0: as long as the agent runs; default: 600',
    )
    .option('--max-clients <count>', 'connections served at the same time')
    .addOption(new Option('--with-parent', 'end with the standard input').hideHelp())
    .option('--authorization <how>', 'on; off lets whoever reaches the socket see everything, for debugging')
    .option('--record <folder>', 'record what all pods of the node do, for ktrace dump; default: nothing is recorded')
    .option('--record-bytes <bytes>', 'what recordings may take on disk; default: 536870912')
    .option('--record-hours <hours>', 'how long recordings are kept; default: 24')
    .option(
      '--otlp-endpoint <url>',
      'an OpenTelemetry collector to export flows and drops to, e.g. http://host:4318; default: none',
    )
    .option('--export-target <words>', "what is exported, as ktrace follow names it; default: this node's pods")
    .option('--export-events <list>', 'of flow-open, flow-update, flow-close, drop, lost, notice')
    .addOption(new Option('--clock-skew-ms <ms>', "added to this node's clock in all that is told, for tests").hideHelp())
    .addOption(new Option('--recheck-ms <ms>', 'how often it is asked again whether who streams still may, for tests').hideHelp())
    .addOption(new Option('--queue-events <count>', 'kept for a client that does not read, for tests').hideHelp())
    .addOption(new Option('--incident-after-ms <ms>', 'how long after a crash is kept, for tests').hideHelp())
    .action(async (flags) => {
      const { parseAgentConfig } = await import('../../agent/config.ts');
      const { runAgent } = await import('../../agent/main.ts');
      await runAgent(parseAgentConfig(flags));
      done(0);
    });
}
