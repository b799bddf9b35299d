// The types of index.d.ts for `import`.
export * from './index.js';
import * as hwentropy from './index.js';
export default hwentropy;
