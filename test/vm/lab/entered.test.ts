import { proveLabFiles } from './files.ts';

/** Packets that are told for the first time where they go on. */
proveLabFiles(['kernel/counts/entered']);
