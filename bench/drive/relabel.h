/* What a change of metadata costs a join task with lone halves: a pod's record changes in each
 * pane, and whoever may be named anew by it is looked for and labelled. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct relabel {
	double ns;     /* of a pane in which one pod changed, beyond one in which none did */
	double labels; /* that it brings */
};

/* halves: of clients, without a peer, to pods at random. mapped: one more is a server's, whose
 * client another node masqueraded. */
struct relabel relabel_measure(uint32_t pods, uint32_t halves, bool mapped);
