#include "ingest/page.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

void pages_init(struct pages *pages, uint32_t pages_max)
{
	*pages = (struct pages){.pages_max = pages_max};
}

void pages_done(struct pages *pages)
{
	for (uint32_t i = 0; i < pages->count; i++) {
		memory_free(pages->pages[i].halves);
		memory_free(pages->pages[i].contributions);
		memory_free(pages->pages[i].turns);
	}
	memory_free(pages->pages);
}

void page_index_reach(struct page_index *index, uint32_t at)
{
	if (at < index->count)
		return;
	size_t count = memory_grown(index->count, (size_t)at + 1), more = count - index->count;
	index->pages = memory_resize(index->pages, count, sizeof(*index->pages));
	index->halves = memory_resize(index->halves, count, sizeof(struct half *));
	memset(index->pages + index->count, 0, more * sizeof(*index->pages));
	memset(index->halves + index->count, 0, more * sizeof(struct half *));
	index->count = (uint32_t)count;
}

/* A page of no node, + 1; 0 at the bound. */
static uint32_t page_take(struct pages *pages)
{
	uint32_t page = pages->free;
	if (page) {
		pages->free = pages->pages[page - 1].next_free;
		return page;
	}
	if (pages->count == pages->pages_max)
		return 0;
	if (pages->count == pages->capacity) {
		pages->capacity = (uint32_t)memory_grown(pages->capacity, pages->count + 1);
		pages->pages = memory_resize(pages->pages, pages->capacity, sizeof(*pages->pages));
	}
	pages->pages[pages->count] =
		(struct page){.halves = memory_zeroed(PAGE_HALVES, sizeof(struct half))};
	return ++pages->count;
}

struct half *pages_take(struct pages *pages, struct page_index *index, uint32_t slot,
			uint32_t sequence, uint32_t *half)
{
	uint32_t at = slot >> PAGE_SHIFT, place = slot & (PAGE_HALVES - 1);
	page_index_reach(index, at);
	if (!index->pages[at]) {
		uint32_t taken = page_take(pages);
		if (!taken)
			return NULL;
		index->pages[at] = taken;
		index->halves[at] = pages->pages[taken - 1].halves;
		pages->pages[taken - 1].number = at;
		for (uint32_t i = 0; i < PAGE_HALVES; i++)
			pages->pages[taken - 1].halves[i].sequence = sequence & HALF_SEQUENCE_MASK;
	}
	struct page *page = &pages->pages[index->pages[at] - 1];
	page->used |= 1ULL << place;
	*half = (index->pages[at] - 1) << PAGE_SHIFT | place;
	return &page->halves[place];
}

void pages_give(struct pages *pages, struct page_index *index, uint32_t half)
{
	uint32_t number = half >> PAGE_SHIFT, place = half & (PAGE_HALVES - 1);
	struct page *page = &pages->pages[number];
	page->halves[place].live = page->halves[place].turned = 0;
	page->halves[place].generation++;
	page->used &= ~(1ULL << place);
	if (page->used)
		return;
	index->pages[page->number - index->first] = 0;
	index->halves[page->number - index->first] = NULL;
	memory_free(page->contributions);
	memory_free(page->turns);
	page->contributions = NULL;
	page->turns = NULL;
	page->next_free = pages->free;
	pages->free = number + 1;
}

uint32_t *half_contributions(struct pages *pages, uint32_t half)
{
	struct page *page = &pages->pages[half >> PAGE_SHIFT];
	if (!page->contributions)
		page->contributions = memory_zeroed(PAGE_HALVES, sizeof(*page->contributions));
	return &page->contributions[half & (PAGE_HALVES - 1)];
}
