'use strict';

/*
 * Where the native socket is (docs/protocol.md, "Sockets"): $HWENTROPY_RUNTIME_DIR,
 * else the directory of this user where it has a socket, else /run/hwentropy.
 *
 * What this does not protect against: an environment that somebody else has set.
 */

const fs = require('node:fs');
const path = require('node:path');

const SOCKET = 'entropy.sock';
const SYSTEM = '/run/hwentropy';

/** The native socket's path. */
function entropyPath(environment = process.env, uid = process.geteuid(), system = SYSTEM) {
  const given = environment.HWENTROPY_RUNTIME_DIR;
  if (given) return path.join(given, SOCKET);
  if (uid !== 0) {
    let runtime = environment.XDG_RUNTIME_DIR ?? '';
    // The XDG Base Directory Specification: a relative path is invalid, ignore it.
    if (!path.isAbsolute(runtime)) runtime = `/run/user/${uid}`;
    const own = path.join(runtime, 'hwentropy', SOCKET);
    if (fs.existsSync(own) || !fs.existsSync(path.join(system, SOCKET))) return own;
  }
  return path.join(system, SOCKET);
}

/** What is at a path: a link that leads nowhere is itself; null if there is nothing. */
function look(one) {
  for (const see of [fs.statSync, fs.lstatSync]) {
    try {
      return see(one);
    } catch (error) {
      if (!['ENOENT', 'ENOTDIR', 'ELOOP'].includes(error.code)) throw error;
    }
  }
  return null;
}

/** path.dirname without a slash at the end, which `a//b` would leave. */
function above(one) {
  return path.dirname(one).replace(/(?<=.)\/+$/, '');
}

/**
 * What stands where a socket's path has a directory: the last one or one before it.
 * The last one where nothing is found: somebody made room, or this user may not look.
 */
function fileInTheWay(socket) {
  const directory = above(socket);
  try {
    // Ends: `/` and `.` are there.
    for (let one = directory; ; one = above(one)) {
      const found = look(one);
      if (found !== null) return found.isDirectory() ? directory : one;
    }
  } catch {
    return directory;
  }
}

module.exports = { entropyPath, fileInTheWay };
