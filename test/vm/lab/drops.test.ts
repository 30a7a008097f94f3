import { proveLabFiles } from './files.ts';

/** What is told of packets that the kernel frees. */
proveLabFiles(['kernel/facts/drops']);
