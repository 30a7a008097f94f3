import { proveLabFiles } from './files.ts';

/** Which packets, and how much of them: each once, what a filter takes, none past its end. */
proveLabFiles([
  'kernel/packets/identity',
  'kernel/filter/live',
  'kernel/packets/hostile',
  'kernel/packets/snap',
  'kernel/facts/targets',
]);
