# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Completion in fish of the command sqlblock, which itself knows what can
# stand where, and what each means, in the form that fish wants: see
# complete.c. fish puts no space behind "=", ":" and "@".

# __sqlblock_files KIND TYPED: but of databases none of those that SQLite and
# the server keep beside them. In --OPTION=FILE, the file is completed.
function __sqlblock_files --argument-names kind typed
    set -l option (string match --regex -- '^--[^=]*=' "$typed")
    set -l file (string replace -- "$option" '' "$typed")
    if [ $kind = database ]
        __fish_complete_path "$file" |
            string match --invert --regex -- '-(lock|shm|wal)(\t|$)'
    else
        __fish_complete_path "$file" | string replace --regex -- '^' "$option"
    end
end

function __sqlblock_complete
    set -l words (commandline --current-process --tokenize --cut-at-cursor)
    set -l token (commandline --current-token --cut-at-cursor)
    # A quotation mark may be open.
    set -l typed (string unescape -- "$token"
        or string unescape -- "$token\""
        or string unescape -- "$token'")
    set -l tool (string replace --regex '^~/' "$HOME/" -- $words[1])
    for line in ($tool --complete $words[2..] "$typed" 2>/dev/null)
        switch $line
            case \t'*'
                __sqlblock_files (string sub --start=2 -- $line) "$typed"
            case '*'
                printf '%s\n' $line
        end
    end
end

complete --command sqlblock --no-files --arguments '(__sqlblock_complete)'
