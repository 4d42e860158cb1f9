export * from './custom.js';
export * from './grad.js';
export * from './jvp.js';
export * from './primitive.js';
export * from './tape.js';
export * from './tree.js';
