import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type { Logger };

/**
 * JSON lines on stderr (stdout is for data), written at once so that the last words of a dying process arrive.
 * Whatever is called `token` or `authorization` is left out, should it ever be handed over by mistake.
 * @param name which process speaks: `agent` or `gate`
 */
export function createLog(name: string, level: LogLevel, to: DestinationStream = destination({ dest: 2, sync: true })): Logger {
  return pino(
    {
      name: `ktrace-${name}`,
      level,
      timestamp: stdTimeFunctions.isoTime,
      redact: { paths: ['token', '*.token', 'authorization', '*.authorization'], remove: true },
    },
    to,
  );
}
