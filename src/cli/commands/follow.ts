import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { FollowOptions } from '../../client/follow/options.ts';
import type { OutputFormat } from '../../client/output/output.ts';
import { badArgument } from '../../util/errors.ts';
import { askedWords } from '../options/asked-words.ts';
import { addClusterOptions, clusterOptions } from '../options/cluster-options.ts';
import { collect, type Done } from '../options/command.ts';
import { parseCount, parseDuration } from '../options/duration.ts';
import { surroundings } from '../options/surroundings.ts';
import { addTextOptions, textStyle } from '../options/text-options.ts';
import { readVersion } from '../options/version.ts';

/** `ktrace follow`. */
export function addFollow(program: Command, done: Done): void {
  const follow = program
    .command('follow')
    .description('show packets of pods as they go: their hops, translations and drops')
    .usage('[options] [KIND/NAME ...] [FILTER]')
    .argument(
      '[words...]',
      'targets as KIND/NAME (pod, deploy, rs, sts, ds, job, cj, svc, node, ns; without any, the namespace), then a filter',
    )
    .option('-l, --selector <selector>', 'pods with these labels (again: or these)', collect)
    .option('-n, --namespace <namespace>', "the targets' namespace, instead of the context's (again: and this)", collect)
    .option('-A, --all-namespaces', 'all namespaces')
    .addOption(followOutput())
    .option('-F, --filter-file <file>', 'take the filter from a file, and again whenever the file changes')
    .option('--packets', 'every packet, not only those that say something new')
    .option('--drops', 'only what is dropped; a filter narrows it further')
    .option(
      '-s, --snaplen <bytes>',
      'capture so many bytes from the IP header on, up to 1500 (default: the headers; needs its own grant)',
    )
    .option('-c, --count <packets>', 'leave after so many packets')
    .option('--for <duration>', 'leave after so long: 500ms, 10s, 2m, 1h')
    .option('--local', 'by an agent of its own on this node, for as long as it runs (root; no DaemonSet is needed)')
    .option('--strict', 'exit with 5 when something was lost or a node was missing')
    .option('--ready-file <file>', 'is there as long as it follows: from when every agent that answers does, until it ends');
  addClusterOptions(addTextOptions(follow))
    .addHelpText('after', EXAMPLES)
    .action(async (words, flags) => {
      const { count, snaplen, for: duration } = flags;
      const options: FollowOptions = {
        asked: await askedWords(words, flags),
        filterFile: flags.filterFile,
        ...clusterOptions(flags),
        output: flags.output,
        packets: flags.packets === true,
        snapBytes: snaplen === undefined ? undefined : await parseSnapBytes(snaplen),
        count: count === undefined ? undefined : parseCount('-c', count),
        forMs: duration === undefined ? undefined : parseDuration('--for', duration),
        strict: flags.strict === true,
        drops: flags.drops === true,
        readyFile: flags.readyFile,
        local: flags.local === true,
        ...textStyle(flags),
      };
      // Its agent asks the API server with what the kubeconfig has.
      if (options.local === true && options.as !== undefined) throw badArgument('--as', 'no --local beside it', options.as);
      const { runFollow } = await import('../../client/follow/follow.ts');
      const command = [process.execPath, process.argv[1] ?? ''];
      done(await runFollow(options, { ...(await surroundings()), command, version: readVersion() }));
    });
}

/** A page sums up what is over: whoever asks a follow for one is told where to get it. */
function followOutput() {
  const option = new Option('-o, --output <format>', 'what is printed').choices(['text', 'wide', 'json', 'pcapng']);
  const choose = option.parseArg;
  return option
    .argParser((format): OutputFormat => {
      if (format !== 'html') return choose?.(format, 'text') ?? 'text';
      throw new InvalidArgumentError(
        'A page sums up records that are all there, and a follow has no end: use ktrace dump … -o html, or ktrace read FILE -o html.',
      );
    })
    .default('text' as const);
}

async function parseSnapBytes(text: string): Promise<number> {
  const { CAPTURE } = await import('../../event/layout.ts');
  const bytes = Number(text);
  if (/^\d{1,4}$/.test(text) && bytes >= 1 && bytes <= CAPTURE.most) return bytes;
  throw badArgument('--snaplen', `bytes from the IP header on, 1 to ${CAPTURE.most}`, text);
}

const EXAMPLES = `
Examples:
  ktrace follow                                  all pods of the context's namespace
  ktrace follow pod/frontend-88237173-jdfgg      one pod, on all nodes that its packets cross
  ktrace follow svc/redis-master --for 30s       a Service, before and after translation
  ktrace follow -l app=redis -o wide             pods by label, with addresses, chains and each hop's time
  ktrace follow node/host3 -o json | jq .drop    one JSON object a line
  ktrace follow deploy/frontend tcp port 6379 and svc redis-master
  ktrace follow -A --drops not reason NO_SOCKET
  ktrace follow ns/shop -F now.filter            the filter is changed by writing the file
  ktrace follow deploy/dns --packets -s 64 'udp[20:2] == 0x0377'   a filter on payload, with the right to see it
  ktrace follow -A --packets -c 100              the next hundred packets of all pods
  ktrace follow pod/web -o pcapng | wireshark -k -i -     live, with names, translations and drops
  sudo -E ktrace follow --local pod/web          on this node alone, where ktrace is not installed

A filter is tcpdump's language, and pod, ns, svc, node, label, iface, dropped, translated, reason, outer, inner.
A line: time, nodes, initiator -> peer (a reply is drawn <-, a conversation that was counted <>), protocol, translation (=> to, <= from,
as whom), fate; ✓ arrived. Interfaces are shown where a packet dies, and of every packet in a pipe, with --no-trunc and with -o wide.
docs/output.md explains each kind of line.`;
