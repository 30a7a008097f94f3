import { type Command, Option, type OptionValues } from '@commander-js/extra-typings';
import type { TextStyle } from '../../client/render/lines/printer.ts';
import { TIMESTAMPS, type Timestamps } from '../../client/render/style/units.ts';

/** How text looks, for every command that prints packets. */
export function addTextOptions<Words extends unknown[], Flags extends OptionValues>(command: Command<Words, Flags>) {
  return command
    .addOption(
      new Option('--timestamps <form>', 'times of text: local time, with date, with date and zone, or UTC')
        .choices(TIMESTAMPS)
        .default('time' as const),
    )
    .option('--no-trunc', 'lines of their full length on a terminal, with the way of every packet, as in a pipe')
    .option('--color', 'colours, also where stdout is no terminal')
    .option('--no-color', 'no colours');
}

/** The same as the parser gives them. */
export function textStyle({ color, timestamps, trunc }: { color?: boolean; timestamps: Timestamps; trunc: boolean }): TextStyle {
  return { color, timestamps, noTrunc: !trunc };
}
