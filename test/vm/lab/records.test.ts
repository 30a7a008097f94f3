import { proveLabFiles } from './files.ts';

/** What is told of packets. */
proveLabFiles(['kernel/packets/parse', 'kernel/facts/nat', 'kernel/facts/errors']);
