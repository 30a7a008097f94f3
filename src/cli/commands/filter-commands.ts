import { type Command, Option } from 'commander';
import type { LinkLayer } from '../../event/link-layer.ts';
import { addTextOptions } from '../options/text-options.ts';

const READ_EXAMPLES = `
Examples:
  ktrace read capture.pcap                                   every IP packet of the file
  ktrace read capture.pcap tcp port 6379 and host 10.244.1.5
  ktrace read capture.pcapng 'tcp[tcpflags] & tcp-rst != 0' -o json | jq .src.ip
  ktrace read night.ktrace dropped -o html > night.html      a dump as one page, of what was dropped
  tcpdump -i eth0 -w - | ktrace read - icmp                  live, from a pipe

FILTER is tcpdump's language, pcap-filter(7). Of the file's packets just those are shown that tcpdump -r FILE FILTER takes and that are IP.`;

const FILTER_EXAMPLES = `
Examples:
  ktrace filter port 80 or 443             with every qualifier written out
  ktrace filter -d tcp port 80             the classic BPF program that decides`;

/** `ktrace read` and `ktrace filter`: the filter language on files, where no cluster and no kernel is needed. */
export function addFilterCommands(program: Command, done: (code: number) => void): void {
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
    .option('-c, --count <packets>', 'leave after so many packets')
    .addHelpText('after', READ_EXAMPLES)
    .action(async (path: string, words: string[], flags: Record<string, unknown>) => {
      const { readCommand } = await import('./read-command.ts');
      done(await readCommand(path, words, flags));
    });
  addTextOptions(read);
  program
    .command('filter')
    .description('explain a filter: how it is understood and what decides it')
    .argument('<filter...>', "tcpdump's filter language")
    .option('-d, --disassemble', 'the classic BPF program, as tcpdump -O -d prints it')
    .addOption(
      new Option('--link <layer>', 'for packets that begin so').choices(['ethernet', 'raw', 'sll', 'sll2']).default('ethernet'),
    )
    .addHelpText('after', FILTER_EXAMPLES)
    .action(async (words: string[], flags: { disassemble?: true; link: LinkLayer }) => {
      const { filterText } = await import('../options/filter-text.ts');
      process.stdout.write(`${filterText(words.join(' '), flags)}\n`);
      done(0);
    });
}
