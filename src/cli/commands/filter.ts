import { type Command, Option } from '@commander-js/extra-typings';
import type { Done } from '../options/command.ts';

/** `ktrace filter`. */
export function addFilter(program: Command, done: Done): void {
  program
    .command('filter')
    .description('explain a filter: how it is understood and what decides it')
    .argument('<filter...>', "tcpdump's filter language")
    .option('-d, --disassemble', 'the classic BPF program, as tcpdump -O -d prints it')
    .addOption(
      new Option('--link <layer>', 'for packets that begin so').choices(['ethernet', 'raw', 'sll', 'sll2']).default('ethernet'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (words, flags) => {
      const { filterText } = await import('../options/filter-text.ts');
      process.stdout.write(`${filterText(words.join(' '), flags)}\n`);
      done(0);
    });
}

const EXAMPLES = `
Examples:
  ktrace filter port 80 or 443             with every qualifier written out
  ktrace filter -d tcp port 80             the classic BPF program that decides`;
