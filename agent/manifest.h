/* What container runtimes write about containers, as JSON: foreign bytes (whoever starts a
 * container chooses its labels). Each reader puts what it finds into a description; false: it is no
 * JSON, of another shape, or says nothing. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/description.h"

/* Docker's /containers/<id>/json and config.v2.json. Sets the id too. */
bool manifest_inspect(const char *bytes, size_t length, const struct label_choice *choice,
		      struct description *out);
/* Docker's /containers/json: calls each() for every container. */
bool manifest_list(const char *bytes, size_t length, const struct label_choice *choice,
		   struct description *scratch,
		   void (*each)(void *context, const struct description *description),
		   void *context);
/* One of Docker's /events: of a container that is made, started, renamed or short of memory. Sets
 * the id too. */
bool manifest_event(const char *bytes, size_t length, const struct label_choice *choice,
		    struct description *out);
/* An OCI bundle's config.json: annotations of containerd's CRI, CRI-O and nerdctl. */
bool manifest_bundle(const char *bytes, size_t length, const struct label_choice *choice,
		     struct description *out);
/* containers.json of containers/storage (podman, CRI-O): the entry of out's id. */
bool manifest_storage(const char *bytes, size_t length, struct description *out);
