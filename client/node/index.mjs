// The names of index.js for `import`: one set of objects for both kinds of module.
import hwentropy from './index.js';

export const {
  randomBytes,
  randomBytesAsync,
  randomFill,
  randomFillSync,
  randomInt,
  randomUUID,
  promises,
  configure,
  isDegraded,
  isNotLive,
  close,
  HwentropyError,
  ProtocolError,
  DaemonUnavailable,
  NotPermitted,
  NotSeeded,
  OverQuota,
  FailedClosed,
  RequestRefused,
  Timeout,
} = hwentropy;

export default hwentropy;
