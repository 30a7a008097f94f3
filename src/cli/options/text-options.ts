import { type Command, Option } from 'commander';
import type { TextStyle } from '../../client/render/lines/printer.ts';
import { TIMESTAMPS } from '../../client/render/style/units.ts';

/** How text looks, for every command that prints packets. */
export function addTextOptions(command: Command): void {
  command
    .addOption(
      new Option('--timestamps <form>', 'times of text: local time, with date, with date and zone, or UTC')
        .choices([...TIMESTAMPS])
        .default('time'),
    )
    .option('--no-trunc', 'lines of their full length on a terminal, with the way of every packet, as in a pipe')
    .option('--color', 'colours, also where stdout is no terminal')
    .option('--no-color', 'no colours');
}

/** The same as the parser gives them. */
export function textStyle(flags: Record<string, unknown>): TextStyle {
  return {
    color: flags['color'] as boolean | undefined,
    timestamps: flags['timestamps'] as TextStyle['timestamps'],
    noTrunc: flags['trunc'] === false,
  };
}
