import { proveLabFiles } from './files.ts';

/** Which packets: each once, what a filter takes. */
proveLabFiles(['kernel/packets/identity', 'kernel/filter/live']);
