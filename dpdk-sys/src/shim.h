/* What bindgen reads: the headers we use, and a function for each `static inline` or thread-local.
 * A shim has the name of what it calls, with `shim_` for `rte_`, and adds nothing. */
#ifndef FERMATA_DPDK_SHIM_H
#define FERMATA_DPDK_SHIM_H

#include <rte_config.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

/* rte_eth_rx_burst: `*rx_pkts` has room for `nb_pkts`; the queue is set up, its port started. */
uint16_t shim_eth_rx_burst(uint16_t port_id, uint16_t queue_id,
			   struct rte_mbuf **rx_pkts, uint16_t nb_pkts);

/* rte_eth_tx_burst: owns the first n of `*tx_pkts` afterwards, where n is what it returns. */
uint16_t shim_eth_tx_burst(uint16_t port_id, uint16_t queue_id,
			   struct rte_mbuf **tx_pkts, uint16_t nb_pkts);

/* rte_pktmbuf_alloc */
struct rte_mbuf *shim_pktmbuf_alloc(struct rte_mempool *mp);

/* rte_pktmbuf_append: NULL when `len` bytes do not fit behind what is there. */
char *shim_pktmbuf_append(struct rte_mbuf *m, uint16_t len);

/* rte_pktmbuf_free */
void shim_pktmbuf_free(struct rte_mbuf *m);

/* rte_errno of the calling thread */
int shim_errno(void);

/* rte_lcore_id of the calling thread, SHIM_LCORE_ID_ANY when it has none */
unsigned int shim_lcore_id(void);

/* Macros with a cast, which bindgen cannot evaluate. */
static const unsigned int SHIM_LCORE_ID_ANY = LCORE_ID_ANY;
static const int SHIM_SOCKET_ID_ANY = SOCKET_ID_ANY;

/* Shifts of 64-bit constants, which it cannot evaluate either. */
static const uint64_t SHIM_ETH_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t SHIM_ETH_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t SHIM_ETH_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t SHIM_ETH_RSS_NONFRAG_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t SHIM_ETH_RSS_NONFRAG_IPV6_TCP = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
/* Its highest bit is out of bindgen's range: as a signed number. */
static const int64_t SHIM_ETH_RSS_L3_SRC_ONLY = (int64_t)RTE_ETH_RSS_L3_SRC_ONLY;
static const uint64_t SHIM_ETH_RSS_L3_DST_ONLY = RTE_ETH_RSS_L3_DST_ONLY;

#endif
