import { type Command, Option } from '@commander-js/extra-typings';
import type { ReadOptions } from '../../client/read/read-options.ts';
import { badArgument } from '../../util/errors.ts';
import type { Done } from '../options/command.ts';
import { parseCount } from '../options/duration.ts';
import { interruption } from '../options/interruption.ts';
import { lookUp } from '../options/surroundings.ts';
import { addTextOptions, textStyle } from '../options/text-options.ts';

/** `ktrace read`: on files, where no cluster and no kernel is needed. */
export function addRead(program: Command, done: Done): void {
  const read = program
    .command('read')
    .description('show what a dump holds, or the packets of a pcap or pcapng file, chosen by a filter')
    .argument('<file>', 'the dump or capture file; - for a capture on standard input')
    .argument('[filter...]', 'which packets; without it all')
    .addOption(
      new Option('-o, --output <format>', 'what is printed; pcapng and html of a dump only')
        .choices(['text', 'wide', 'json', 'pcapng', 'html'])
        .default('text'),
    )
    .option('--services', 'list the Services that a dump tells of, instead of its records')
    .option('-c, --count <packets>', 'leave after so many packets');
  addTextOptions(read)
    .addHelpText('after', EXAMPLES)
    .action(async (path, words, flags) => {
      const { output, count } = flags;
      if (flags.services === true) return done(await listServices(path, words, output));
      const options: ReadOptions = {
        path,
        words,
        output,
        count: count === undefined ? undefined : parseCount('-c', count),
        ...textStyle(flags),
      };
      const { runRead } = await import('../../client/read/read.ts');
      const { stdin, stdout, stderr, env } = process;
      done(await runRead(options, { stdin, stdout, stderr, env, interrupt: interruption(), lookUp }));
    });
}

async function listServices(path: string, words: readonly string[], output: ReadOptions['output']): Promise<number> {
  if (words.length > 0) throw badArgument('--services', 'no filter beside it', words.join(' '));
  if (output === 'pcapng' || output === 'html') throw badArgument('-o', 'text or json with --services', output);
  const { readServices } = await import('../../client/dump/services.ts');
  return readServices(path, output === 'json' ? output : 'text', process);
}

const EXAMPLES = `
Examples:
  ktrace read capture.pcap                                   every IP packet of the file
  ktrace read capture.pcap tcp port 6379 and host 10.244.1.5
  ktrace read capture.pcapng 'tcp[tcpflags] & tcp-rst != 0' -o json | jq .src.ip
  ktrace read night.ktrace dropped -o html > night.html      a dump as one page, of what was dropped
  tcpdump -i eth0 -w - | ktrace read - icmp                  live, from a pipe

FILTER is tcpdump's language, pcap-filter(7). Of the file's packets just those are shown that tcpdump -r FILE FILTER takes and that are IP.`;
